"""The page of a library: every document in force with what it cost and how well it is known, to be searched; versions; the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from selfedit.report import frame
from selfedit.types import Example


@dataclass(frozen=True, slots=True)
class Measured:
    """What the run that learned a document says of it; None where it measured nothing.

    `n` report questions were answered: `before` and `right` are shares of right answers, `f1` is afterwards. `tokens` is what the adapter was
    trained on, `seconds` the document's part of the whole run.
    """

    tokens: int
    seconds: float
    n: int = 0
    before: float | None = None
    right: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A document in force. Its adapter came `at` a moment, in `version`, and knows as many documents in force as `shared` says.

    `size` is the adapter's in bytes, None where its files are gone.
    """

    id: str
    title: str
    context: str
    examples: tuple[Example, ...]
    adapter: str
    shared: int
    consolidated: bool
    run: str
    version: int
    at: str
    size: int | None
    measured: Measured | None

    @property
    def learned(self) -> str:
        """Its examples, one a line."""
        return "\n".join(f"{one.prompt} → {one.text}" if one.prompt else one.text for one in self.examples)


@dataclass(frozen=True, slots=True)
class Change:
    """A version with the titles of what it put in force, took out, and learned anew. `same` is an earlier version with the same contents."""

    number: int
    digest: str
    at: str
    action: str
    note: str
    documents: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    anew: tuple[str, ...]
    same: int | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The gate in force: its threshold as a probability, the share of `prompts` everyday prompts that got in, the share of questions about the
    documents that did, None where that was not measured, and the version that it was calibrated for."""

    threshold: float
    prompts: int
    let_in: float | None
    kept: float | None
    version: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows. `versions` are in their order; `unread` are runs whose ledgers say nothing any more."""

    place: Path
    model: str
    known: Sequence[Known]
    versions: Sequence[Change]
    gate: Calibration
    unread: Sequence[str]

    @property
    def measured(self) -> list[Measured]:
        """What was measured of documents."""
        return [one.measured for one in self.known if one.measured]

    @property
    def asked(self) -> int:
        """Documents that were asked about when they were learned."""
        return sum(one.right is not None for one in self.measured)

    @property
    def size(self) -> int:
        """Bytes of all adapters in force, each once."""
        return sum({one.adapter: one.size or 0 for one in self.known}.values())

    @property
    def adapters(self) -> int:
        """How many adapters are in force."""
        return len({one.adapter for one in self.known})

    @property
    def seconds(self) -> float:
        """What learning it all took, as far as it is known."""
        return sum(one.seconds for one in self.measured)

    def mean(self, name: str) -> float | None:
        """The mean over documents of one of their shares, None without any."""
        found = [value for one in self.measured if (value := getattr(one, name)) is not None]
        return fmean(found) if found else None


def write_library(found: Overview, out: Path) -> Path:
    """Write the page to `out` and return where it is. Raises LedgerError where it cannot be written."""
    return frame.save(render(found), out)


def render(found: Overview) -> str:
    """The page."""
    return frame.page("library.html.j2", {"library": found}, scripts=["search.js"] if found.known else [], filters={"size": size})


def size(bytes_: int | None) -> str:
    """`9.4 MB`; a dash for None."""
    if bytes_ is None:
        return "–"
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= of:
            return f"{bytes_ / of:.1f}\u202f{unit}"
    return f"{bytes_}\u202fB"
