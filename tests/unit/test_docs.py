"""The documentation is true to the code.

1. The reference is what the code says.
2. Every command in a page is one that the command line understands, and every setting in its flags exists.
3. Every link to a file leads somewhere, every link to a heading to one that is there.
4. Every package and module stands in the layout of docs/design.md, and what stands there exists.
5. Every environment variable that the code reads is explained in the README.
6. Every step of `learn` that docs/design.md lists is recorded by one, and none other.
7. The README's Python runs, and the recipes in the pages are recipes.
8. docs/strategies.md describes every strategy.
"""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from selfedit import parts
from selfedit.cli import COMMANDS, main
from selfedit.cli.flags import with_flags
from selfedit.cli.parse import parse
from selfedit.config import load_recipe
from selfedit.ledger import Reader
from selfedit.store import runs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").glob("*/README.md"))]
WRITTEN = [page for page in PAGES if page.name != "reference.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_reference_is_up_to_date() -> None:  # promise 1
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    generate = module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == generate.page(), "run `make docs`"


def commands() -> list[tuple[Path, str]]:
    found = []
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        inline = [code for code in re.findall(r"`(selfedit [a-z][^`]*)`", text) if not code.startswith("selfedit show recipe >")]
        shell = [line.partition("#")[0].partition(" > ")[0] for block in blocks(page, "bash") for line in block.splitlines()]
        found += [(page, line.strip()) for line in [*inline, *shell] if line.startswith("selfedit ") and "--plugins" not in line]
    return sorted(set(found))  # plug-ins are tried in test_extending.py


@pytest.fixture(scope="module")
def reader_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who follows the pages: with a recipe, and a run of `train`."""
    home = tmp_path_factory.mktemp("home")
    (home / "recipe.toml").write_text("seed = 0\n", encoding="utf-8")
    train = ["train", "--engine", "fake", "--limit", "2", "--rounds", "1", "--runs", str(home / "runs"), "--quiet"]
    assert main(train) == 0
    return home


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: getattr(value, "name", value))
def test_commands_are_understood(page: Path, line: str, reader_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    monkeypatch.setenv("SELFEDIT_RUNS", str(reader_home / "runs"))
    monkeypatch.chdir(reader_home if page.parent.parent.name != "recipes" else page.parent)
    _, name, *args = shlex.split(line)
    assert name in COMMANDS or name.startswith("-"), f"{page}: {line}"
    if name in COMMANDS:
        module, kind = COMMANDS[name]
        parse(with_flags(getattr(import_module(f"selfedit.cli.{module}"), kind), args), name, args)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:  # promise 3
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = [
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in target.read_text("utf-8").splitlines() if line[:1] == "#"
        ]
        assert not heading or heading in headings, link


def test_the_layout_names_every_part() -> None:  # promise 4
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    [layout] = re.findall(r"^```\nsrc/selfedit/\n(.*?)^\S", page, flags=re.MULTILINE | re.DOTALL)
    named = {line.split()[0].rstrip("/") for line in layout.splitlines()}
    there = {path.name for path in (ROOT / "src" / "selfedit").iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert named == there


def test_environment_variables_are_explained() -> None:  # promise 5
    read = {name for file in (ROOT / "src").rglob("*.py") for name in re.findall(r"SELFEDIT_[A-Z]+", file.read_text(encoding="utf-8"))}
    assert read and not {name for name in read if name not in (ROOT / "README.md").read_text(encoding="utf-8")}


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a run of `learn`."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--engine", "fake", "--limit", "3", "--quiet"]) == 0
    capsys.readouterr()
    return tmp_path


def test_the_steps_are_the_ledgers(learned: Path) -> None:  # promise 6
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("steps of `learn`")[2].partition("\n\n")[0], flags=re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([a-z][^`]*)`", row)}
    with Reader(runs.find(Path("runs"), "latest")) as reader:
        assert {step.name for step in reader.steps()} == listed


def test_the_readmes_python_runs(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:  # promise 7
    for block in blocks(ROOT / "README.md", "python"):
        exec(block.replace('Recipe(model="smollm2-135m")', 'Recipe(engine={"type": "fake"})'), {})
    lines = capsys.readouterr().out.splitlines()
    table, rest = lines[:-8], lines[-8:]  # documents × candidates of the demo, and two texts
    assert table[0].startswith("Before ") and all(" to " in line for line in table)
    assert all("→" in line for line in rest[6:]) and not any("→" in line for line in rest[:6])


def test_recipes_are_recipes(tmp_path: Path) -> None:  # promise 7
    for page in WRITTEN:
        if page.name == "extending.md":  # its recipe needs the plug-in, and is tried with it in test_extending.py
            continue
        for number, block in enumerate(blocks(page, "toml")):
            file = tmp_path / f"{page.stem}-{number}.toml"
            file.write_text(block, encoding="utf-8")
            load_recipe(file)


def test_every_strategy_is_described() -> None:  # promise 8
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert not [name for name in parts.KINDS["strategy"].names() if f"`{name}`" not in text]
