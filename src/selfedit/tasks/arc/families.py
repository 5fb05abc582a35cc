"""Families of puzzles: re-arc's generators (Hodel 2024), of which each makes any number of pairs by the rule of one of ARC's 400 training puzzles.

They come with the package reasoning-gym, whose other parts and dependencies are not needed: pip install --no-deps reasoning-gym==0.1.25.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from selfedit.errors import DataError
from selfedit.tasks.arc.grids import LARGEST, Pair, Puzzle, grid
from selfedit.tasks.arc.reading import file_of

SHOWN, ASKED = 3, 3
"""Demonstrations and queries of a family's puzzle."""
EASY = (0.0, 0.05)
"""Difficulty, from 0 to 1, within which sizes and numbers of things are drawn."""
TRIES = 40
"""Pairs that are drawn for a puzzle at most; some are twice the same, or too large."""
_NAME = "_selfedit_re_arc"


@cache
def re_arc(seed: int) -> tuple[Puzzle, ...]:
    """One puzzle of every family that makes enough different pairs, named as ARC's own: no family is on another side of a split than its puzzle.

    Raises DataError where reasoning-gym is not installed.
    """
    made = (_puzzle(name, make, seed) for name, make in sorted(_generators().items()))
    return tuple(one for one in made if one is not None)


def _puzzle(name: str, make: Callable[..., Mapping[str, Any]], seed: int) -> Puzzle | None:
    rng, found = random.Random(f"{seed} {name}"), dict[Pair, None]()
    for _ in range(TRIES):
        if len(found) == SHOWN + ASKED:
            break
        pair = make(rng, *EASY)
        if all(1 <= len(side) <= LARGEST and 1 <= len(side[0]) <= LARGEST for side in (pair["input"], pair["output"])):
            found[Pair(grid(pair["input"], name), grid(pair["output"], name))] = None
    pairs = tuple(found)
    return Puzzle(name, pairs[:SHOWN], pairs[SHOWN:]) if len(pairs) == SHOWN + ASKED else None


def _generators() -> dict[str, Callable[..., Mapping[str, Any]]]:
    """By the name of the puzzle whose rule they follow. Their folder is imported alone, under a name of its own."""
    folder: Path = file_of("reasoning-gym", "reasoning_gym/arc/rearc_utils", "pip install --no-deps reasoning-gym==0.1.25")
    if _NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
        assert spec is not None and spec.loader is not None
        sys.modules[_NAME] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    try:
        generators = importlib.import_module(f"{_NAME}.generators")
    except ImportError as error:
        raise DataError(f"re-arc's generators in {folder} cannot be imported ({error}); pip install --no-deps reasoning-gym==0.1.25") from error
    return {name.removeprefix("generate_"): getattr(generators, name) for name in dir(generators) if name.startswith("generate_")}
