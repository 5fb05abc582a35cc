"""What a person sees while a run goes on and when it ends: progress on standard error, results on standard output."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from selfedit.system import interrupts as stop
from selfedit.text import duration
from selfedit.types import Interval, Progress

if TYPE_CHECKING:
    from selfedit.report.comparison import Comparison

QUICK_S = 0.5
"""A stage that takes less leaves no line."""
HEARTBEAT_S = 30.0
"""How often a stage says where it is when nobody watches a terminal."""


class _Console(Console):
    """A reader that went away never stops a run."""

    def on_broken_pipe(self) -> None:
        """Go on in silence."""
        self.quiet = True


def console(stream: IO[str]) -> Console:
    """A console on a stream; a table written to a file is as wide as it needs to be."""
    return _Console(file=stream, highlight=False, soft_wrap=not stream.isatty(), width=None if stream.isatty() else _columns())


def _columns() -> int:
    return int(os.environ.get("COLUMNS") or 110)


class Show:
    """`quiet` shows results only. With `json`, standard output is left to the one line of JSON."""

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        self.quiet = quiet
        self.err = console(sys.stderr)
        self.out = self.err if json else console(sys.stdout)

    # ------------------------------------------------------------ while it goes on

    @contextmanager
    def stage(self, title: str) -> Iterator[Progress]:
        """Shows a piece of work with a bar, the time it has taken and the time left; leaves a line with its duration."""
        stop.check()
        began = time.monotonic()
        if self.quiet:
            yield lambda done, total: None
        elif self.err.is_terminal:
            with self._bars() as bars:
                yield _Bar(bars, title)
        else:
            yield _Heartbeat(self, title)
        took = time.monotonic() - began
        if took >= QUICK_S:
            self.say(f"{title}: {duration(took)}", mark="[green]✓[/] ")

    def say(self, text: str, mark: str = "  ") -> None:
        """One line of news."""
        if not self.quiet:
            self.err.print(f"{mark}[dim]{escape(wrapped(self.err, text, 2))}[/]", soft_wrap=True)

    def _bars(self) -> Bars:
        return Bars(
            TextColumn("[cyan]▸[/] {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[left]}[/]"),
            console=self.err,
            transient=True,
            refresh_per_second=5,
        )

    # ------------------------------------------------------------ when it has ended

    def line(self, text: str = "", style: str = "") -> None:
        """A line of the result; in a terminal, as many as it takes."""
        self.out.print(Text(wrapped(self.out, text), style=style), soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        """A named line of the result."""
        self.out.print(Text.assemble((f"{name:<10} ", "dim"), wrapped(self.out, value, 11)), soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = (0,), bold: int | None = None, gap: int = 3
    ) -> None:
        """A table; columns of words stand left, numbers right, with so many spaces between them."""
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number in words else "right", no_wrap=number not in words, overflow="fold")
        for number, row in enumerate(rows):
            table.add_row(*(Text(harmless(cell)) for cell in row), style="bold" if number == bold else "")
        self.out.print(table, soft_wrap=False)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Documents, questions and answers are untrusted: no character of theirs moves the cursor, sets a title or turns the line round."""
    return _CONTROL.sub("\ufffd", text)


def wrapped(where: Console, text: str, indent: int = 0) -> str:
    """Sentences as wide as the terminal; what has no spaces, such as a path, stays whole. Only made harmless where there is no terminal."""
    text = harmless(text)
    if not where.is_terminal:
        return text
    width = max(20, where.width - indent)
    lines = [textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""] for line in text.split("\n")]
    return f"\n{' ' * indent}".join(line for several in lines for line in several)


class _Pace:
    """How fast a stage goes. When the work goes on to its next part (fewer done than before, or out of another total), the count starts again."""

    def __init__(self) -> None:
        self.began, self.done, self.total = time.monotonic(), 0, 0

    def left(self, done: int, total: int) -> str:
        """The time left, by the pace of this part."""
        now = time.monotonic()
        if done < self.done or total != self.total > 0:
            self.began = now
        self.done, self.total = done, total
        return time_left(done, total, now - self.began)


class _Bar:
    """A stage's bar."""

    def __init__(self, bars: Bars, title: str) -> None:
        self.bars, self.pace = bars, _Pace()
        self.task: TaskID = bars.add_task(escape(harmless(title)), total=None, share="", left="")

    def __call__(self, done: int, total: int) -> None:
        left = self.pace.left(done, total)
        share = f"{100 * done // total:>3} %" if total else ""
        self.bars.update(self.task, total=total or None, completed=done, share=share, left=left)


class _Heartbeat:
    """A stage without a terminal: a line now and then, so that a log shows life."""

    def __init__(self, show: Show, title: str) -> None:
        self.show, self.title, self.pace = show, title, _Pace()
        self.began = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now, left = time.monotonic(), self.pace.left(done, total)
        if now - self.last >= HEARTBEAT_S and total:
            self.last = now
            self.show.say(f"{self.title}: {100 * done // total} %, {duration(now - self.began)}{', ' if left else ''}{left}")


def time_left(done: int, total: int, seconds: float) -> str:
    """`2 min 05 s left`, by how long the first part took; nothing before there is something to go by."""
    if not 0 < done < total or seconds < 1:
        return ""
    return f"{duration(seconds * (total - done) / done)} left"


def share(value: float | None) -> str:
    """A share in percent, a dash where it was not measured."""
    return "–" if value is None else f"{100 * value:.1f} %"


# ---------------------------------------------------------------- tables of a run

_KINDS = {"given": "given with the documents", "written": "written by the model, and confirmed", "cloze": "blanks in the text"}


def comparison(show: Show, found: Comparison) -> None:
    """The rows of a run side by side, what that says in a sentence, and the kinds of questions where they did not all come with the documents."""
    _rows(show, found)
    if gained := found.gains:
        show.line()
        gains = [[d.over.label, *_gained(d.gain.correct), *_gained(d.gain.f1)] for d in gained]
        show.table([f"“{gained[0].of.label}” over", "points", "95 % interval", "by F1", "95 % interval"], gains, gap=2)
    if any(kind != "given" for kind, _, _ in found.kinds):
        kinds = [f"{_KINDS.get(kind, kind)}, {n}" for kind, n, _ in found.kinds]
        named = [row for row in found.rows if any(row.name in by_row for _, _, by_row in found.kinds)]
        show.line()
        show.table(["correct", *kinds], [[row.label, *(share(by_row.get(row.name)) for _, _, by_row in found.kinds)] for row in named], gap=2)
    if found.headline:
        show.line()
        show.line(found.headline.verdict, "bold")
        show.line(f"{found.headline.sentence} {found.headline.control}".strip())


def _rows(show: Show, found: Comparison) -> None:
    """The table of rows; of exact answers only the mean, so that it fits."""
    several = max((row.seeds for row in found.rows), default=1) > 1
    rows = [
        [
            row.label,
            *(cell for interval in (row.accuracy, row.f1) for cell in (share(interval.mean), _range(interval))),
            share(row.exact.mean),
            str(row.accuracy.n),
            *([str(row.seeds)] if several else []),
            row.tokens,
        ]
        for row in found.rows
    ]
    final = next((number for number, row in enumerate(found.rows) if row.name == found.final), None)
    columns = ["held-out questions", "correct", "95 % interval", "F1", "95 % interval", "exact", "n", *(["seeds"] if several else [])]
    show.line()
    show.table([*columns, "tokens trained on"], rows, bold=final, gap=2)
    for left in found.left_out:
        show.line(f"{left.label}: left out, {left.why}", "dim")


def _gained(interval: Interval) -> list[str]:
    return [f"{100 * interval.mean:+.1f}", f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"]


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
