"""Adapters of which guards accept only a part are replaced by that part, before anything is asked of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace

from selfedit.guards import AdapterSeen, shrink
from selfedit.library import Adapters, Entry, Library
from selfedit.loop.run import Run
from selfedit.store.artifacts import check, digest_of, seal, write_adapter
from selfedit.types import Artifact, Progress, Verdict

TRAINED = 1
"""The version of a run's own library that has its adapters as they were trained."""
DRAFTS = "adapters.scaled"
"""Where scaled adapters are written before their names are known."""


def shrink_adapters(run: Run, library: Library) -> None:
    """Scale the adapters of a run's library down as far as its guards ask for; the library keeps those that were trained as its first version.

    Does nothing unless a guard of the recipe is set to shrink.
    """
    guards = [one for one in run.recipe.open_all("guard", run.recipe.guards) if one.stage == "adapter" and one.shrinks]
    if not guards:
        return

    def measured(progress: Progress) -> list[Verdict]:
        found, names = [], [one.id for one in library.entries(TRAINED)]
        with Adapters(run.policy.engine, library) as adapters:
            for n, name in enumerate(names, start=1):
                found += [replace(verdict, about=name) for verdict in shrink(guards, AdapterSeen(run.policy, adapters.load(name), (), ()))]
                progress(n, len(names))
        return found

    verdicts = run.step("shrink", Verdict, "Looking for the scale that guards accept", measured)
    refused = {one.about for one in verdicts if one.against}
    scales = {one.about: one.scale for one in verdicts if one.decision == "shrink" and one.about not in refused}
    if scales:
        scaled = run.step("shrunk", Artifact, "Scaling adapters down", lambda _: replaced(run, library, scales))
        for artifact in scaled:
            check(run.ledger.folder, artifact)


def replaced(run: Run, library: Library, scales: Mapping[str, float]) -> list[Artifact]:
    """Put adapters that are scaled down in the place of those of these names. Returns them as the ledger holds them."""
    folder, engine = run.ledger.folder, run.policy.engine
    drafts = folder / DRAFTS
    shutil.rmtree(drafts, ignore_errors=True)

    def smaller(entry: Entry, adapters: Adapters) -> Entry:
        made = engine.scaled(adapters.load(entry.id), scales[entry.id])
        write_adapter(drafts / entry.id, lambda draft: engine.export(made, draft))
        engine.drop(made)
        return replace(entry, id=digest_of(drafts / entry.id), folder=drafts / entry.id)

    with Adapters(engine, library) as adapters:
        found = [smaller(entry, adapters) for entry in library.entries(TRAINED) if entry.id in scales]
    library.add(found, note="scaled down")
    shutil.rmtree(drafts, ignore_errors=True)
    return [seal(folder, library.adapter(one.id).relative_to(folder).as_posix(), one.documents[0].title) for one in found]
