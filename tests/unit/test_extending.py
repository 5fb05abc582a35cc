"""Parts from outside the package, as docs/extending.md shows them.

1. Every block of the page is a whole module of fewer than 30 lines, and the command below it works with it, from a module outside the package.
2. A part is listed with its meaning, settings and module; a recipe uses it as the command line does.
3. The ledger notes the module's digest: a run is not resumed with a module that has changed. It notes the part's words: the report has them where the
   module is gone.
4. Parts of installed packages are found through their entry points.
5. A module that fails, a name that is taken, and a part of no known form are refused in one line.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from selfedit import parts
from selfedit.cli import main
from selfedit.config import load_recipe
from selfedit.errors import ConfigError
from selfedit.ledger import Reader, runs

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+?)\n.*?```python\n(.*?)```\n\nUsed by `(selfedit [^`]+)`", PAGE, flags=re.MULTILINE | re.DOTALL)


def selfedit(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: parts are registered once a process."""
    words = [sys.executable, "-m", "selfedit", *shlex.split(command)[1:]]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_each_kind_is_shown() -> None:  # promise 1
    shown = {title.split()[-1] for title, _, _ in EXAMPLES}
    assert shown == {"reward", "strategy", "guard", "baseline", "algorithm", "prefilter", "loop", "domain", "engine", "vectors"}


@pytest.mark.parametrize(("title", "code", "command"), EXAMPLES, ids=[title for title, _, _ in EXAMPLES])
def test_every_example_runs(tmp_path: Path, title: str, code: str, command: str) -> None:  # promise 1
    assert code.count("\n") < 30
    (tmp_path / "part.py").write_text(code, encoding="utf-8")
    done = selfedit(tmp_path, f"{command} --quiet")
    assert done.returncode == 0, done.stderr
    [run] = runs(tmp_path / "runs")
    with Reader(tmp_path / "runs" / run.id) as reader:
        assert reader.info().status == "finished" and "plug-in part" in reader.notes()
        mine = [noted for noted in reader.notes()["parts"] if noted.get("module") == "part"]
    assert len(mine) == 1 and mine[0]["means"] in code


@pytest.fixture
def brevity(tmp_path: Path) -> Path:
    """A folder with the page's reward in `my_parts.py`."""
    [code] = [code for title, code, _ in EXAMPLES if title == "A reward"]
    (tmp_path / "my_parts.py").write_text(code, encoding="utf-8")
    return tmp_path


def test_listed_and_in_a_recipe(brevity: Path) -> None:  # promise 2
    listed, trained = re.findall(r"^(selfedit .*?)(?:  +#.*)?$", PAGE, flags=re.MULTILINE)[:2]
    said = selfedit(brevity, listed).stdout
    assert "brevity" in said and "words" in said and "my_parts" in said
    recipe = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    (brevity / "recipe.toml").write_text(recipe, encoding="utf-8")
    assert selfedit(brevity, f"{trained} --runs one --quiet").returncode == 0
    assert selfedit(brevity, "selfedit train recipe.toml --engine fake --limit 2 --rounds 1 --runs two --quiet").returncode == 0
    found = []
    for folder in ("one", "two"):
        [run] = runs(brevity / folder)
        with Reader(brevity / folder / run.id) as reader:
            found.append([candidate.reward for candidate in reader.candidates()])
            assert reader.info().recipe["reward"] == {"type": "brevity", "words": 5}
    assert found[0] == found[1] and {reward.kind for reward in found[0]} == {"brevity"}


def test_a_changed_module_is_refused(brevity: Path) -> None:  # promise 3
    train = "selfedit train --engine fake --limit 2 --rounds 1 --plugins my_parts --reward brevity --quiet"
    assert selfedit(brevity, train).returncode == 0
    [run] = runs(brevity / "runs")
    report = selfedit(brevity, "selfedit report")
    assert report.returncode == 0
    with Reader(brevity / "runs" / run.id) as reader:
        meaning = next(noted["means"] for noted in reader.notes()["parts"] if noted["name"] == "brevity")
    file = brevity / "my_parts.py"
    code = file.read_text(encoding="utf-8")
    file.unlink()
    assert selfedit(brevity, "selfedit report --out without.html").returncode == 0
    assert meaning in (brevity / "without.html").read_text(encoding="utf-8")
    file.write_text(f"{code}\n# changed\n", encoding="utf-8")
    unfinished = f"import sqlite3; sqlite3.connect('runs/{run.id}/ledger.db').execute(\"UPDATE run SET status = 'failed'\").connection.commit()"
    subprocess.run([sys.executable, "-c", unfinished], cwd=brevity, check=True)
    again = selfedit(brevity, "selfedit train --resume latest")
    assert again.returncode == 6 and "plug-in my_parts has changed since run" in again.stderr


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    package = tmp_path / "elsewhere_selfedit"
    package.mkdir()
    source = (
        "from selfedit.strategies import strategy\n\n@strategy('from-elsewhere', means='one line')\ndef ask(source, settings):\n    return 'Write.'\n"
    )
    (package / "__init__.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("mine", "elsewhere_selfedit", parts.GROUP)
    monkeypatch.setattr(parts, "entry_points", lambda group: [point] if group == parts.GROUP else [])
    monkeypatch.setattr(parts, "_loaded", set())
    parts.load()
    try:
        assert parts.KINDS["strategy"].get("from-elsewhere").module == "elsewhere_selfedit"
    finally:
        parts.KINDS["strategy"].parts.pop("from-elsewhere", None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ZeroDivisionError('oh')", "plugins: module 'bad_parts' cannot be imported (ZeroDivisionError: oh)"),
        (
            "from selfedit.rewards import reward\n\n@reward('mix', means='x')\ndef f(measured, settings): ...",
            "reward 'mix' of bad_parts is there already",
        ),
        ("from selfedit.rewards import reward\n\n@reward('one', means='x')\ndef f(measured): ...", "reward 'one' has to take (measured, settings)"),
        ("from selfedit.rewards import reward\n\n@reward('two', means='x', needs=('tea',))\ndef f(m, s): ...", "reward 'two' needs 'tea'"),
        ("from selfedit.algorithms import algorithm\n\n@algorithm('three', means='x')\ndef f(): ...", "has to be a subclass of Algorithm"),
    ],
)
def test_refused(tmp_path: Path, code: str, said: str) -> None:  # promise 5
    (tmp_path / "bad_parts.py").write_text(code, encoding="utf-8")
    done = selfedit(tmp_path, "selfedit train --engine fake --plugins bad_parts")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert main(["train", "--engine", "fake", "--plugins", "no_such_module_anywhere"]) == 2


def test_recipe_names_an_unknown_part(tmp_path: Path) -> None:  # promise 5
    (tmp_path / "r.toml").write_text("[reward]\ntype = 'corectness'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown reward 'corectness'; the nearest is 'correctness'"):
        load_recipe(tmp_path / "r.toml")
