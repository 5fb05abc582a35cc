"""What a run began with, and whether it is still the same: its documents, its model, and the versions that it is computed with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from selfedit.config import Recipe, parse_recipe
from selfedit.errors import DataError, LedgerError
from selfedit.ledger import Ledger, Reader, RunInfo
from selfedit.system import environment
from selfedit.tasks import Split
from selfedit.tasks.knowledge.documents import same
from selfedit.types import Demonstration, Passage

D = TypeVar("D", Passage, Demonstration)

_VERSIONS = ("revision", "torch", "transformers", "processor")
"""What of an environment the last digits of numbers depend on."""


_PLACES: dict[Any, Any] = {Passage: {"__all__": {"source"}}, Demonstration: {"__all__": {"passage": {"source"}}}}
"""What of a document says where it was read, not what it says."""


# ------------------------------------------------------------ recipe and places


def recipe_of(reader: Reader) -> Recipe:
    """The recipe of a run, with a model folder that can be opened from here. Raises ConfigError for keys that are no longer known."""
    info = reader.info()
    recipe = parse_recipe(info.recipe, source=f"recipe of run {info.run_id}")
    here = Path(recipe.model).expanduser()
    there = as_then(info, here)
    if not recipe.open("engine").real or there == here or not there.is_dir():
        return recipe
    from selfedit.models.catalogue import find

    return recipe if find(recipe.model) else recipe.model_copy(update={"model": str(there)})


def as_then(info: RunInfo, path: Path) -> Path:
    """A relative path counts from the folder in which the run was begun; from here, where nothing is there any more."""
    begun_in = Path(info.environment.get("folder", "."))
    return path if begun_in == Path.cwd() or not (begun_in / path).exists() else begun_in / path


# ------------------------------------------------------------ documents


def documents(
    ledger: Ledger, docs: Sequence[Path], split: Split, step: str = "tasks", say: Callable[[str], None] = lambda text: None
) -> list[Passage]:
    """The passages of a run, read before any model is opened; nothing once the step that needs them is finished.

    Relative paths count from where the run was begun. Raises DataError where they are no longer what the run began with.
    """
    return _as_before(ledger, docs, step, Passage, lambda paths: ledger.recipe.open("domain").read(ledger.recipe, paths, split, say))


def demonstrations(ledger: Ledger) -> list[Demonstration]:
    """What the cold start of a run shows, as `documents`; nothing where there is none."""
    settings = ledger.recipe.cold_start
    if not settings.enabled:
        return []
    found = _as_before(
        ledger, settings.examples, "cold-start", Demonstration, lambda paths: ledger.recipe.open("domain").demonstrations(ledger.recipe, paths)
    )
    if found:
        ledger.note("shown", sorted({name for one in found for name in names(one.passage.context)}))
    return found


def without(passages: Sequence[Passage], shown: Sequence[Demonstration]) -> list[Passage]:
    """The passages that the rounds can use: what was shown with its answers is known. Raises DataError where none is left."""
    known = {name for one in shown for name in names(one.passage.context)}
    left = [passage for passage in passages if not names(passage.context) & known]
    if passages and not left:
        raise DataError("the cold start shows every training document, and the rounds have none left; lower cold_start.passages or give more docs")
    return left


def keep_apart(held_out: Sequence[Passage], learned: Collection[str]) -> None:
    """Raises DataError where a passage that is there to be measured on is among those that are learned from, which are named by their digests."""
    if found := [passage for passage in held_out if names(passage.context) & set(learned)]:
        raise DataError(
            f"{len(found)} of {len(held_out)} held-out passages are learned from as well, the first about {found[0].title!r}; "
            "take them out of eval_docs, or out of docs and cold_start.examples"
        )


def _as_before(ledger: Ledger, docs: Sequence[Path], step: str, kind: type[D], read_all: Callable[[list[Path]], list[D]]) -> list[D]:
    """What documents say, which is what they said when the run was begun; nothing once the step that needs them is finished."""
    if ledger.is_finished(step):
        return []
    with Reader(ledger.folder) as reader:
        info, known = reader.info(), reader.notes().get(f"documents for {step}")
    found = read_all([as_then(info, path) for path in docs])
    # Without defaults: a field that a later version adds is no change of the documents.
    said = TypeAdapter(list[kind]).dump_json(found, exclude_defaults=True, exclude=_PLACES[kind])  # type: ignore[valid-type]
    noted = {"passages": len(found), "sha256": hashlib.sha256(said).hexdigest()}
    if known not in (None, noted):
        raise DataError(f"the documents have changed since run {ledger.run_id} was begun; restore them, or start a new run")
    ledger.note(f"documents for {step}", noted)
    return found


def digest(text: str) -> str:
    """SHA-256, hex, of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def names(text: str) -> set[str]:
    """What a text is known by: its digest, and that of what it has in common with copies of it that differ in spaces, case or spelling of signs."""
    return {digest(text), digest(same(text))}


# ------------------------------------------------------------ the model


def same_model(ledger: Ledger, recipe: Recipe) -> None:
    """Note the fingerprint of the model that was opened. Raises LedgerError where it is another than the run began with."""
    if found := require_model(ledger.folder, recipe):
        ledger.note("model", found)


def fingerprint(recipe: Recipe) -> str | None:
    """That of the recipe's model as it lies on the disk; None for a made-up one."""
    if not recipe.open("engine").real:
        return None
    from selfedit.models import resolve

    return environment.fingerprint(resolve(recipe.model, offline=True))


def require_model(run: Path, recipe: Recipe) -> str | None:
    """The fingerprint of the recipe's model. Raises LedgerError where it is another than that of the run."""
    found = fingerprint(recipe)
    with Reader(run) as reader:
        known = reader.notes().get("model")
    if found and known not in (None, found):
        raise LedgerError(f"{recipe.model} is no longer the model that run {run.name} began with; restore it, or start a new run")
    return found


def model_of(run: Path, recipe: Recipe) -> str:
    """What the adapters of a run belong to: the fingerprint of the model, or the name of a made-up one."""
    with Reader(run) as reader:
        return str(reader.notes().get("model", f"{recipe.model} {recipe.engine.part}"))


def model_now(recipe: Recipe) -> str:
    """The same of the recipe's model as it lies on the disk."""
    return fingerprint(recipe) or f"{recipe.model} {recipe.engine.part}"


def anywhere(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON whose model is found from any folder."""
    values, model = recipe.model_dump(mode="json"), Path(recipe.model).expanduser()
    return values | ({"model": str(model.resolve())} if recipe.open("engine").real and model.is_dir() else {})


# ------------------------------------------------------------ versions


def say_versions(ledger: Ledger, say: Callable[[str], None]) -> None:
    """Where a run goes on with other versions, or on another processor, than it began with: one line, and a note from which step on."""
    with Reader(ledger.folder) as reader:
        info, notes, steps = reader.info(), reader.notes(), len(reader.steps())
    began = {"selfedit": info.version} | {name: info.environment[name] for name in _VERSIONS if name in info.environment}
    here = {"selfedit": metadata.version("selfedit")} | environment.record()
    now = {name: here.get(name, "unknown") for name in began}
    last = [began, *(entry["with"] for entry in notes.get("resumed", []))][-1]
    if now != last:
        ledger.add_note("resumed", {"after_steps": steps, "with": now})
    if changed := [f"{name} {before}, now {now[name]}" for name, before in began.items() if now[name] != before]:
        say(f"run {ledger.run_id} was begun with {'; '.join(changed)}: its last digits may differ from those of a run in one go")
