"""What `learn`, `train` and `evaluate` return: a run on disk with its table, its self-edits and its adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfedit.config import Recipe
from selfedit.errors import ConfigError
from selfedit.ledger import Reader
from selfedit.store import identity
from selfedit.store.artifacts import BASIS
from selfedit.types import Candidate, Cost, Task, Verdict, Watch

if TYPE_CHECKING:
    from selfedit.library.ask import Answers
    from selfedit.report.comparison import Comparison


class Run:
    """A run on disk: its table, its self-edits, its adapter. It reads the ledger each time it is asked, also while the run goes on."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def reader(self) -> Reader:
        """The run's ledger; use it as a context manager."""
        return Reader(self.folder)

    @property
    def status(self) -> str:
        """running, finished, failed or interrupted."""
        with self.reader() as reader:
            return reader.info().status

    @property
    def recipe(self) -> Recipe:
        """The settings it was begun with."""
        return recipe_of(self.folder)

    @property
    def comparison(self) -> Comparison:
        """Everything that its results say."""
        from selfedit.report.comparison import compare

        with self.reader() as reader:
            return compare(reader.tasks(), reader.results(), reader.notes())

    @property
    def table(self) -> Table:
        """One row a baseline, and the result among them, with 95 % intervals."""
        return Table(self.comparison)

    @property
    def tasks(self) -> list[Task]:
        """Passages with their questions."""
        with self.reader() as reader:
            return reader.tasks()

    @property
    def candidates(self) -> list[Candidate]:
        """Self-edits with their rewards."""
        with self.reader() as reader:
            return reader.candidates()

    @property
    def verdicts(self) -> list[Verdict]:
        """What the guards said of the run as a whole."""
        with self.reader() as reader:
            return reader.verdicts()

    @property
    def cost(self) -> Cost:
        """Seconds and tokens."""
        with self.reader() as reader:
            return reader.cost()

    @property
    def adapters(self) -> dict[str, Path]:
        """The final adapters by the title of what they know (the first, where one knows several documents), in PEFT's format."""
        with self.reader() as reader:
            found = [one for one in reader.artifacts() if one.path != BASIS and not one.path.startswith("policy/")]
        return {one.name: self.folder / one.path for one in found}

    @property
    def in_force(self) -> bool:
        """Whether `ask` uses any of this run's adapters."""
        from selfedit.library.force import opened

        return any(entry.run == self.id for entry in opened(self.folder.parent).entries())

    @property
    def measures_reliability(self) -> bool:
        """Whether it measured rewards in place of baselines."""
        with self.reader() as reader:
            return bool(reader.notes().get("measures") == "reliability")

    def ask(self, question: str, topic: str | None = None, open_book: bool = False, watch: Watch | None = None) -> Answers:
        """A question to this run's adapter and, beside it, to the model without it; as an `open_book`, with the document in view."""
        from selfedit.library.ask import ask
        from selfedit.library.opening import library_of
        from selfedit.system.console import Show

        with library_of(self.folder) as library:
            return ask(library, question, topic, watch or Show(), open_book)

    def report(self, out: Path | str | None = None) -> Path:
        """Write the whole story as one HTML file that needs no network, and return where it is."""
        from selfedit.report import write

        return write(self.folder, Path(out) if out else None)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status})"

    def _repr_html_(self) -> str:
        headline = self.comparison.headline
        said = f"<p><b>{escape(headline.verdict)}</b> {escape(headline.sentence)} {escape(headline.control)}</p>" if headline else ""
        return f"<div><p>Run <code>{escape(self.id)}</code>, {escape(self.status)}</p>{self.table._repr_html_()}{said}</div>"


class Table(Sequence[Mapping[str, Any]]):
    """The rows of a comparison, as in results.json: `name`, `mean`, `low`, `high`, `n`, `seeds`, `tokens` and more, with the `label` in words."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One a row."""
        from selfedit.report.results import as_results

        labels = {row.name: row.label for row in self.comparison.rows}
        rows = as_results(self.comparison)["rows"]
        final = self.comparison.final or ""
        return [{"label": labels.get(row["name"], labels.get(final, row["name"])), **row} for row in rows]

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def to_pandas(self) -> Any:
        """A DataFrame with a row each, by name. Raises ConfigError where pandas is not installed."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ConfigError("a DataFrame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.rows).set_index("name")

    def __str__(self) -> str:
        return "\n".join(f"{row['label']:<34} {_share(row['mean']):>7}  {_share(row['low'])} to {_share(row['high'])}" for row in self.rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("", "correct", "95 % interval", "questions", "tokens"))
        body = "".join(
            f"<tr><th>{escape(row['label'])}</th><td>{_share(row['mean'])}</td><td>{_share(row['low'])} to {_share(row['high'])}</td>"
            f"<td>{row.get('n', '')}</td><td>{row.get('tokens') or 0:,}</td></tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a run; its paths count from where the run was begun."""
    with Reader(folder) as reader:
        recipe, info = identity.recipe_of(reader), reader.info()
    return recipe.model_copy(update={"eval_docs": tuple(identity.as_then(info, path) for path in recipe.eval_docs)})
