"""The command line. 1. Help and configuration load nothing that is heavy. 2. Every part can be chosen. 3. A reader that goes away is no error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selfedit import parts
from selfedit.cli.flags import as_recipe, with_flags
from selfedit.cli.parse import parse
from selfedit.cli.work import Train
from selfedit.config import CHOSEN

HEAVY = {"torch", "transformers", "plotly", "numpy", "safetensors", "huggingface_hub"}


@pytest.mark.parametrize(
    "code",
    [
        "import selfedit.config",
        "from selfedit.cli import main; main(['--help'])",
        "from selfedit.cli import main; main(['learn', '--help'])",
        "from selfedit.cli import main; main(['learn', 'nowhere.txt'])",
        "from selfedit.cli import main; main(['runs'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:  # promise 1
    ask = f"import sys; {code}; print('loaded:', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())
    assert not HEAVY & loaded


NEEDED = {
    "python": ("--reward.function", "mine:reward"),
    "judge": ("--reward.model", "m"),
    "vector": ("--edits", "vector"),
    "es": ("--edits", "vector"),
}
"""Settings without which a part cannot be chosen."""


def chosen_by() -> list[tuple[str, str]]:
    """Every section of a recipe that chooses a part, with every part that it may choose. `sampler` has no flags, `vector` has them with its kind."""
    parts.load()
    return [(key, name) for key, (kind, _) in CHOSEN.items() if key not in ("sampler", "vector") for name in parts.KINDS[kind].names()]


@pytest.mark.parametrize(("key", "name"), chosen_by())
def test_every_part_can_be_typed(key: str, name: str) -> None:  # promise 2
    for flag in (f"--{key}", f"--{key}.type"):
        args = [flag, name, *NEEDED.get(name, ())]
        assert getattr(as_recipe(parse(with_flags(Train, args), "train", args).settings), key).part == name


def test_vectors_on_top_can_be_typed() -> None:  # promise 2
    args = ["--edits", "data,vector", "--vector.candidates", "4", "--vector.layers", "1", "2"]
    recipe = as_recipe(parse(with_flags(Train, args), "train", args).settings)
    assert recipe.added is not None and (recipe.vector.candidates, recipe.vector.layers) == (4, (1, 2))  # type: ignore[union-attr]


def test_a_reader_that_goes_away_is_no_error() -> None:  # promise 3
    command = f"{sys.executable} -m selfedit show recipe | true; {sys.executable} -m selfedit --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
