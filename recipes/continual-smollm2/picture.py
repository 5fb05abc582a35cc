"""The matrix as a picture: how much of every document is answered rightly after every edit, way by way, as one HTML page that needs no network.

python picture.py out                    # from the files that run.py wrote there; writes out/matrix.html
python picture.py out --page there.html

Shares count questions, as in results.json, over all sequences of one length that a way has learned.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from ways import DEFAULT, WAYS

from selfedit.errors import SelfeditError
from selfedit.report import frame
from selfedit.report.figures import Figure, plot

HERE = Path(__file__).parent
UNTOUCHED = "untouched"
COLOURS = ("$one", "$two", "$three", "$four", "$five", "$six", "$seven")
"""Of lines, but for that of the default; matrix.html.j2 says what they are in light and dark."""
DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Way:
    """A way over all its sequences of T documents: right answers just after each edit, `learned` (T,), at the end, `kept` (T,), of `asked` (T,)
    questions; and after 0, 1, ... T edits, `matrix` (T + 1, T), empty where it was not measured. `tokens` and `seconds` are means for one edit."""

    name: str
    sequences: int
    asked: list[int]
    learned: list[float]
    kept: list[float]
    matrix: list[list[float]]
    tokens: float
    seconds: float

    def share(self, right: Sequence[float], documents: slice = slice(None)) -> float:
        """Right answers as a share of the questions about some of the documents."""
        return sum(right[documents]) / sum(self.asked[documents])

    def shares(self, right: Sequence[float]) -> list[float]:
        """Right answers about each document as shares."""
        return [one / n for one, n in zip(right, self.asked, strict=True)]

    @property
    def questions(self) -> int:
        """About all documents together."""
        return sum(self.asked)

    @property
    def lost(self) -> float:
        """How much smaller the share of right answers is at the end than just after each edit."""
        return self.share(self.learned) - self.share(self.kept)

    @property
    def so_far(self) -> list[float]:
        """After 1, 2, ... T edits the share of right answers about the documents that were learned by then."""
        return [self.share(row, slice(number)) for number, row in enumerate(self.matrix[1:], start=1)]

    @property
    def highest(self) -> float:
        """The highest of those."""
        return max(self.so_far)

    @property
    def change(self) -> list[float]:
        """After 1, 2, ... T edits how much that is more than just after each of them was learned."""
        return [now - self.share(self.learned, slice(number)) for number, now in enumerate(self.so_far, start=1)]

    @property
    def all(self) -> list[float]:
        """After 0, 1, ... T edits the share of right answers about all documents."""
        return [self.share(row) for row in self.matrix]


def way(name: str, sequences: Sequence[dict[str, Any]]) -> Way:
    """The files of a way, one a sequence, added up."""
    edits = len(sequences[0]["final"])
    counts = [[len(document) for document in one["final"]] for one in sequences]

    def right(part: str) -> list[float]:
        return _added([[sum(mark for mark, _ in document) for document in one[part]] for one in sequences])

    rows = [[[share * n for share, n in zip(row, some, strict=True)] for row in one["matrix"]] for one, some in zip(sequences, counts, strict=True)]
    matrix = [_added(some) for some in zip(*rows, strict=True)] if all(rows) else []
    if name == UNTOUCHED:  # nothing changes
        matrix = [right("final")] * (edits + 1)
    return Way(
        name=name,
        sequences=len(sequences),
        asked=[round(n) for n in _added(counts)],
        learned=right("immediate"),
        kept=right("final"),
        matrix=matrix,
        tokens=sum(one["tokens"] for one in sequences) / len(sequences) / edits,
        seconds=sum(one["seconds"] for one in sequences) / len(sequences) / edits,
    )


def _added(lists: Iterable[Sequence[float]]) -> list[float]:
    return [sum(some) for some in zip(*lists, strict=True)]


def found(out: Path) -> dict[int, list[Way]]:
    """The ways that were learned below `out`, by the length of the sequences. Sequences that ended early, for want of passages, are left out."""
    files: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for file in sorted(out.glob("[0-9]*-[0-9]*/*.json")):
        size, one = int(file.parent.name.split("-")[0]), json.loads(file.read_text(encoding="utf-8"))
        if len(one["final"]) == size:
            files.setdefault(size, {}).setdefault(file.stem, []).append(one)
    return {size: [way(name, ways[name]) for name in (*WAYS, *sorted(ways.keys() - WAYS)) if name in ways] for size, ways in sorted(files.items())}


def curves(ways: Sequence[Way], values: Callable[[Way], list[float]], start: int, title: str) -> Figure:
    """A line for each way, %, by the number of edits, from `start` on; that of the untrained model is dotted."""
    looks = zip(cycle(COLOURS), cycle(dash for dash in DASHES for _ in COLOURS))
    traces: list[Figure] = []
    for one in (one for one in ways if one.matrix):
        own = {DEFAULT: ("$accent", "solid", 4), UNTOUCHED: ("$muted", "dot", 1.5)}
        colour, dash, width = own.get(one.name) or (*next(looks), 2)
        edits = range(start, len(one.asked) + 1)
        shares = values(one)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(edits) < 20 and width > 1.5 else "lines",
                "name": one.name,
                "x": list(edits),
                "y": [100 * share for share in shares],
                "line": {"color": colour, "width": width, "dash": dash},
                "marker": {"size": 5, "color": colour},
                "hovertemplate": "after %{x} edits: %{y:.1f} %<extra>%{fullData.name}</extra>",
            }
        )
    x = {"title": {"text": "edits"}, "showgrid": False, "dtick": max(1, len(ways[0].asked) // 8)}
    return plot(traces, 320 + 20 * len(traces), x=x, y={"title": {"text": title}}, legend=True)


def page(ways: dict[int, list[Way]]) -> str:
    """The page of all lengths."""
    drawn = {}
    for size, some in ways.items():
        if any(one.matrix for one in some):
            drawn[f"all-{size}"] = curves(some, lambda one: one.all, 0, "right, %")
            drawn[f"so-far-{size}"] = curves(some, lambda one: one.so_far, 1, "right, %")
            drawn[f"change-{size}"] = curves(some, lambda one: one.change, 1, "points")
    return frame.page("matrix.html.j2", {"lengths": ways, "default": DEFAULT}, figures=drawn, folder=HERE)


def main() -> None:
    """One page from all that has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("out"))
    parser.add_argument("--page", type=Path, help="where to write it; matrix.html in OUT by default")
    args = parser.parse_args()
    ways = found(args.out)
    if not ways:
        raise SystemExit(f"nothing was learned in {args.out} yet: begin with run.py")
    try:
        print(frame.save(page(ways), args.page or args.out / "matrix.html"))
    except SelfeditError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
