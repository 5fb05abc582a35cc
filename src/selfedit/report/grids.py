"""Grids of digits as small pictures: each cell in one of ten colours, pairs of grids with an arrow between them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from selfedit.types import Task

COLOURS = ("#20242a", "#1e78c8", "#e0483e", "#3aa655", "#f2c230", "#9aa0a6", "#d6489a", "#f08a24", "#7cc4e8", "#8a2f3c")
"""Of the digits 0 to 9, apart from each other on light paper and on dark."""
LARGEST_PX = 110
"""The longer side of a picture, pixels."""
CELL_PX = 14
"""A cell of a small grid."""
_GRID = re.compile(r"\d+(?:\n\d+)*")


def of_grids(tasks: Sequence[Task]) -> bool:
    """Whether the questions of a run are grids."""
    return any(not question.in_words for task in tasks for question in (*task.reward_questions, *task.report_questions))


def drawn(text: str) -> Markup:
    """A text of grids as pictures: `>` between two lines makes an arrow, an empty line a gap. Nothing for any other text."""
    rows = [side.split("\n>\n") for side in text.strip("\n").split("\n\n")]
    if not all(_GRID.fullmatch(grid) and len({len(line) for line in grid.split("\n")}) == 1 for row in rows for grid in row):
        return Markup()
    pairs = (Markup('<span class="arrow">→</span>').join(map(_picture, row)) for row in rows)
    return Markup('<span class="grids">{}</span>').format(Markup("").join(Markup('<span class="pair">{}</span>').format(pair) for pair in pairs))


def _picture(grid: str) -> Markup:
    lines = grid.split("\n")
    height, width = len(lines), len(lines[0])
    cell = min(CELL_PX, LARGEST_PX / max(height, width))
    paths = Markup("").join(
        Markup('<path fill="{}" d="{}"/>').format(colour, places)
        for digit, colour in enumerate(COLOURS)
        if (places := "".join(f"M{x} {y}h.94v.94h-.94z" for y, line in enumerate(lines) for x, said in enumerate(line) if said == str(digit)))
    )
    size = Markup('width="{:.0f}" height="{:.0f}" viewBox="0 0 {} {}"').format(cell * width, cell * height, width, height)
    return Markup('<svg class="grid" role="img" aria-label="{}" {}>{}</svg>').format(grid.replace("\n", " "), size, paths)
