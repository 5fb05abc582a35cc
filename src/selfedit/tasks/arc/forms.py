"""How a puzzle is put to a model: as bare digits, or in the words and arrays of SEAL's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfedit.tasks.arc.grids import ARROW, GAP, Grid, Pair, digits, parse


@dataclass(frozen=True, slots=True)
class Form:
    """`head` stands before all pairs. `stop`, a part of what follows every output, ends an answer."""

    head: str
    stop: str

    def asked(self, of: Grid) -> str:
        """An input, up to where its output begins."""
        raise NotImplementedError

    def answered(self, of: Grid) -> str:
        """An output and what follows it."""
        raise NotImplementedError

    def read(self, text: str) -> Grid | None:
        """The grid that an answer gives, None where it is none."""
        raise NotImplementedError

    def prompt(self, shown: Sequence[Pair], query: Grid) -> tuple[str, ...]:
        """Demonstrations and a query in pieces, as they are trained on."""
        pieces = [piece for pair in shown for piece in (self.asked(pair.input), self.answered(pair.output))]
        return tuple(piece for piece in (self.head, *pieces, self.asked(query)) if piece)


class Digits(Form):
    """`12\\n34\\n>\\n...`: a token a cell, half as many tokens as with blanks between."""

    def asked(self, of: Grid) -> str:
        """Digits and an arrow."""
        return digits(of) + ARROW

    def answered(self, of: Grid) -> str:
        """Digits and an empty line."""
        return digits(of) + GAP

    def read(self, text: str) -> Grid | None:
        """Digits alone."""
        return parse(text)


class Arrays(Form):
    """`[[1 2]\\n [3 4]] -> ...#`, as numpy prints arrays: the form of SEAL's few-shot code, without its chat template."""

    def asked(self, of: Grid) -> str:
        """An array and an arrow."""
        return f"{_array(of)} -> "

    def answered(self, of: Grid) -> str:
        """An array and a hash."""
        return f"{_array(of)}#\n"

    def read(self, text: str) -> Grid | None:
        """An array alone."""
        said = text.strip()
        if not (said.startswith("[[") and said.endswith("]]")):
            return None
        return parse("\n".join(row.strip(" []").replace(" ", "") for row in said.split("\n")))


def _array(of: Grid) -> str:
    return "[" + "\n ".join(f"[{' '.join(map(str, row))}]" for row in of) + "]"


FORMS: dict[str, Form] = {
    "digits": Digits("", GAP),
    "arrays": Arrays(
        "Find the transformation that the following examples have in common, and apply it to the last input. Grids are Python arrays.\n", "#"
    ),
}
"""By their names in a recipe."""
