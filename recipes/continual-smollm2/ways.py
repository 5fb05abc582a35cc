"""Ways to learn documents one after another: functions of a `Stream`, which holds the documents, a self-edit of each, and what ways share.

Those that change one model are in changed.py; here are an adapter for each document, the passage in the prompt, and the list of all.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from changed import (
    ELASTIC,
    alone,
    beside_earlier,
    beside_everyday,
    consolidated,
    from_the_open_book,
    growing,
    near_the_base,
    o_lora,
    one_after_another,
    stable,
    untouched,
)
from merges import linear, ties
from stream import PROBES, Found, Scores, Stream, Way, always_on, as_it_came, by_document, direct, right

from selfedit.library import Adapters, Document, Entry, Library, calibrate, request, routes
from selfedit.library.routing import candidates
from selfedit.retention import everyday
from selfedit.retention.probes import ask_probes, some
from selfedit.store.artifacts import digest_of
from selfedit.types import Question, SampleRequest, Sampling, Task

# ---------------------------------------------------------------- an adapter for each document


def train_library(s: Stream) -> int:
    """An adapter for each document that has none yet, in its folder; returns the tokens that all of them were trained on."""
    missing = [n for n, at in enumerate(s.made) if not spent(at).is_file()]
    with s.policy.adapters([s.job(s.edits[n], n) for n in missing]) as trained:
        for n, one in zip(missing, trained, strict=True):
            assert one.adapter is not None, one.failure
            shutil.rmtree(s.made[n], ignore_errors=True)
            s.policy.engine.export(one.adapter, s.made[n])
            spent(s.made[n]).write_text(str(one.tokens))
    return sum(int(spent(at).read_text()) for at in s.made)


def spent(made: Path) -> Path:
    """The file with the tokens that an adapter was trained on."""
    return made.with_suffix(".tokens")


def library(titled: bool = False) -> Way:
    """The default of `selfedit learn`: each document joins the library, and the gate decides who answers; questions come without their title."""

    def way(s: Stream) -> Found:
        tokens, immediate = train_library(s), []
        known = Library(s.folder / "titled" if titled else s.folder)
        shutil.rmtree(known.folder, ignore_errors=True)
        with Adapters(s.policy.engine, known) as adapters:
            matrix = [right(direct(s.policy, s.tasks))] if s.whole else []
            for number, (task, edit, at) in enumerate(zip(s.tasks, s.edits, s.made, strict=True)):
                recipe = s.policy.recipe.model_dump(mode="json")
                known.add([Entry(digest_of(at), at, (Document.of(task, edit),), "model", recipe, "run")], note=task.title)
                calibrate(adapters)
                now = routed(s, adapters, s.tasks if s.whole else [task], titled)
                immediate.append(now[number] if s.whole else now[0])
                matrix += [right(now)] if s.whole else []
            final = routed(s, adapters, s.tasks, titled)
            inside = [route.found is not None for route in routes(adapters, [one.prompt for one in everyday("check")])]
            return Found(immediate, final, 1 - fmean(inside), gated_abilities(s, adapters), tokens, matrix=matrix)

    return way


def gated_abilities(s: Stream, adapters: Adapters) -> list[float]:
    """What becomes of each probe when the gate decides who answers it."""
    probes, values = some(limit=PROBES), []
    before = ask_probes(s.policy, None, chosen=probes)
    for probe, one, route in zip(probes, before, routes(adapters, [probe.question for probe in probes]), strict=True):
        to = adapters.load(route.found.entry) if route.found else None
        values.append((ask_probes(s.policy, to, chosen=[probe])[0] if to else one).value or 0.0)
    return values


def routed(s: Stream, adapters: Adapters, tasks: Sequence[Task], titled: bool) -> list[Scores]:
    """Questions asked as `selfedit ask` asks them."""
    flat = [(n, q) for n, task in enumerate(tasks) for q in task.report_questions]
    chosen = routes(adapters, [f"{tasks[n].title}: {q.question}" if titled else q.question for n, q in flat])
    most = s.policy.recipe.questions.max_tokens
    said = s.policy.sample([request(s.policy, adapters, who, q.question, most) for who, (_, q) in zip(chosen, flat, strict=True)])
    return by_document(len(tasks), [(n, q, completion.text) for (n, q), completion in zip(flat, said, strict=True)])


def chosen_by(pick: Callable[[int, int], int]) -> Way:
    """The library's adapters, the title given, and the adapter picked by number of document and of documents."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        handles = [s.policy.engine.load(at) for at in s.made]
        scores = direct(s.policy, s.tasks, [handles[pick(n, len(handles))] for n in range(len(s.tasks))])
        for handle in handles:
            s.policy.engine.drop(handle)
        return Found(scores, scores, 1.0, [], tokens)

    return way


def joined(join: Callable[[Sequence[Path], Path], None]) -> Way:
    """The library's adapters made into one, always on."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        join(s.made, s.folder / "joined")
        adapter = s.policy.engine.load(s.folder / "joined")
        try:
            return always_on(s, adapter, tokens)
        finally:
            s.policy.engine.drop(adapter)

    return way


# ---------------------------------------------------------------- the passage in the prompt


def retrieving(passages: int, adapted: bool = False) -> Way:
    """Passages in the prompt, as many as BM25 finds first (0: the right one); asked of the untrained model, or of the first passage's adapter."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        known = Library(s.folder)
        texts = {task.title + task.context: task for task in s.tasks}

        def places(task: Task, question: Question) -> list[Task]:
            if not passages:
                return [task]
            [ones] = candidates(known, [question.question], passages)
            return [texts[one.document.title + one.document.context] for one in ones] or [task]

        flat = [(n, task, q, places(task, q)) for n, task in enumerate(s.tasks) for q in task.report_questions]
        shown = ["\n\n".join(place.context for place in found) for *_, found in flat]
        if not adapted:
            scores = as_it_came(s, shown)
            return Found(scores, scores, 1.0, [], 0)
        handles = {task.id: s.policy.engine.load(at) for task, at in zip(s.tasks, s.made, strict=True)}
        sampling = Sampling(s.policy.recipe.questions.max_tokens, stop=s.policy.render.answer_stop)
        requests = [
            SampleRequest(s.policy.question(task.title, q.question, text), sampling, handles[found[0].id])
            for (_, task, q, found), text in zip(flat, shown, strict=True)
        ]
        said = s.policy.sample(requests)
        for handle in handles.values():
            s.policy.engine.drop(handle)
        scores = by_document(len(s.tasks), [(n, q, completion.text) for (n, _, q, _), completion in zip(flat, said, strict=True)])
        return Found(scores, scores, 1.0, [], tokens)

    return way


RANDOM = random.Random(0)
DEFAULT = "library"
WAYS: dict[str, Way] = {
    "untouched": untouched,
    DEFAULT: library(),
    "library_with_title": library(titled=True),
    "right_adapter": chosen_by(lambda n, of: n),
    "random_adapter": chosen_by(lambda n, of: RANDOM.randrange(of)),
    "merge": one_after_another(alone),
    "everyday_replay": one_after_another(beside_everyday),
    "replay_1": one_after_another(beside_earlier(0.01)),
    "replay_10": one_after_another(beside_earlier(0.1)),
    "replay_100": one_after_another(beside_earlier(1.0)),
    "kl_to_base": one_after_another(near_the_base),
    "stable": one_after_another(beside_everyday, stable),
    "self_distillation": one_after_another(from_the_open_book),
    "growing_adapter": growing(),
    "ewc": growing(ELASTIC),
    "o_lora": o_lora,
    "linear_merge": joined(linear),
    "ties_merge": joined(ties),
    "consolidated": consolidated,
    "retrieved_passage": retrieving(1),
    "retrieved_passages_3": retrieving(3),
    "right_passage": retrieving(0),
    "library_and_retrieval": retrieving(1, adapted=True),
}
