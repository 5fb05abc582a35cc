"""Documents learned one after another, in several ways, at equal tokens for each document.

python run.py passages.jsonl --out out --sequences 4 --length 8

Every stage writes a file and is not done again. Ways, each from the same self-edits: nothing learned; the authors' way, which merges an adapter after
each document, without and with replay; the library with its gate (the default of `selfedit learn`), its adapters chosen by an oracle and by chance;
one adapter on everything together; and the passage in the prompt, as BM25 finds it and as it ought to be found, without and with the library.

Average, backward transfer and retained gain as the README defines them; intervals are 95 %, over documents.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from selfedit.baselines.base import matched, tokens_of
from selfedit.config import load_recipe
from selfedit.library import Adapters, Document, Entry, Library, calibrate, request, routes
from selfedit.library.routing import candidates
from selfedit.policy import Asked, Policy
from selfedit.policy.opening import open_policy
from selfedit.retention import everyday, own_answers
from selfedit.retention.probes import ask_probes, some
from selfedit.store.artifacts import digest_of
from selfedit.study.statistics import paired_difference
from selfedit.system.process import tune
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.text import judge_answer
from selfedit.types import Adapter, Example, Question, SampleRequest, Sampling, Task, TrainJob

Scores = list[tuple[float, float]]
"""Right or not, and F1, of each question of a document."""
EVERYDAY, PROBES = 60, 112


@dataclass(frozen=True)
class Found:
    """What a way came to: scores of each document just after it was learned and at the end, everyday answers that stayed as they were, probes."""

    immediate: list[Scores]
    final: list[Scores]
    locality: float
    ability: list[float]
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Stream:
    """A sequence of documents with what all ways share."""

    policy: Policy
    tasks: list[Task]
    edits: list[tuple[Example, ...]]
    replay: tuple[Example, ...]
    folder: Path

    def job(self, examples: Sequence[Example], number: int, replay: bool = True) -> TrainJob:
        """Training on a document. Without replay, for as many tokens as with it."""
        self.policy.replay = self.replay
        full = self.policy.job(examples, number)
        if replay:
            return full
        self.policy.replay = ()
        return matched(self.policy.job(examples, number), tokens_of(full))


# ---------------------------------------------------------------- asking


def graded(said: str, question: Question) -> tuple[float, float]:
    """Right by the local judge, and F1."""
    verdict = judge_answer(said, question.golds)
    return float(verdict.correct), verdict.f1


def asked(policy: Policy, sets: Sequence[Asked]) -> list[Scores]:
    """Greedy answers without the passage, scored."""
    return [[graded(answer.prediction, answer.question) for answer in answers] for answers in policy.answer(sets)]


def direct(policy: Policy, tasks: Sequence[Task], adapter: Adapter | None = None) -> list[Scores]:
    """Every document's questions put to one adapter."""
    return asked(policy, [Asked(adapter, task, task.report_questions) for task in tasks])


def in_view(
    policy: Policy, tasks: Sequence[Task], shown: Callable[[Task, Question], str], to: Callable[[Task, Question], Adapter | None]
) -> list[Scores]:
    """With a passage in the prompt."""
    flat = [(n, task, q) for n, task in enumerate(tasks) for q in task.report_questions]
    sampling = Sampling(policy.recipe.questions.max_tokens, stop=policy.render.answer_stop)
    said = policy.sample([SampleRequest(policy.question(task.title, q.question, shown(task, q)), sampling, to(task, q)) for _, task, q in flat])
    found: list[Scores] = [[] for _ in tasks]
    for (n, _, q), completion in zip(flat, said, strict=True):
        found[n].append(graded(completion.text.strip(), q))
    return found


def everyday_answers(policy: Policy, adapter: Adapter | None) -> list[str]:
    """Answers to everyday prompts that are for measuring alone."""
    prompts = [policy.render.ask(one.prompt) for one in everyday("check")[:EVERYDAY]]
    return [c.text for c in policy.sample([SampleRequest(p, Sampling(48, stop=policy.render.answer_stop), adapter) for p in prompts])]


def abilities(policy: Policy, adapter: Adapter | None) -> list[float]:
    """What became of each probe."""
    return [one.value or 0.0 for one in ask_probes(policy, adapter, chosen=some(limit=PROBES))]


# ---------------------------------------------------------------- ways


def untouched(s: Stream) -> Found:
    """Nothing is learned."""
    scores = direct(s.policy, s.tasks)
    return Found(scores, scores, 1.0, abilities(s.policy, None), 0, 0.0)


def merging(replay: bool) -> Callable[[Stream], Found]:
    """The authors' way: an adapter is trained on each document on top of the last, and merged."""

    def way(s: Stream) -> Found:
        before, immediate, tokens = everyday_answers(s.policy, None), [], 0
        for number, (task, edit) in enumerate(zip(s.tasks, s.edits, strict=True)):
            with s.policy.adapters([s.job(edit, number, replay)]) as [trained]:
                assert trained.adapter is not None, trained.failure
                s.policy.engine.merge(trained.adapter)
                tokens += trained.tokens
            immediate += direct(s.policy, [task])
        after = everyday_answers(s.policy, None)
        same = fmean(float(a == b) for a, b in zip(before, after, strict=True))
        found = Found(immediate, direct(s.policy, s.tasks), same, abilities(s.policy, None), tokens, 0.0)
        s.policy.engine.reset()
        return found

    return way


def consolidated(s: Stream) -> Found:
    """One adapter on the self-edits of all documents together, always on."""
    before = everyday_answers(s.policy, None)
    with s.policy.adapters([s.job([example for edit in s.edits for example in edit], 0)]) as [trained]:
        assert trained.adapter is not None, trained.failure
        scores = direct(s.policy, s.tasks, trained.adapter)
        same = fmean(float(a == b) for a, b in zip(before, everyday_answers(s.policy, trained.adapter), strict=True))
        return Found(scores, scores, same, abilities(s.policy, trained.adapter), trained.tokens, 0.0)


def train_library(s: Stream) -> int:
    """An adapter for each document, in folders of the sequence; returns the tokens they were trained on."""
    made = s.folder / "made"
    if (made / "tokens").is_file():
        return int((made / "tokens").read_text())
    with s.policy.adapters([s.job(edit, number) for number, edit in enumerate(s.edits)]) as trained:
        for number, one in enumerate(trained):
            assert one.adapter is not None, one.failure
            shutil.rmtree(made / str(number), ignore_errors=True)
            s.policy.engine.export(one.adapter, made / str(number))
        tokens = sum(one.tokens for one in trained)
    (made / "tokens").write_text(str(tokens))
    return tokens


def library(s: Stream) -> Found:
    """The default: each document joins the library, and the gate decides who answers. Questions do not say which document they are about."""
    tokens, immediate = train_library(s), []
    shutil.rmtree(s.folder / "library", ignore_errors=True)
    known = Library(s.folder)
    with Adapters(s.policy.engine, known) as adapters:
        for number, (task, edit) in enumerate(zip(s.tasks, s.edits, strict=True)):
            at = s.folder / "made" / str(number)
            recipe = s.policy.recipe.model_dump(mode="json")
            known.add([Entry(digest_of(at), at, (Document.of(task, edit),), "model", recipe, "run")], note=task.title)
            calibrate(adapters)
            immediate += routed(s, adapters, [task])
        final = routed(s, adapters, s.tasks)
        prompts = [one.prompt for one in everyday("check")]
        inside = [route.found is not None for route in routes(adapters, prompts)]
        probes = some(limit=PROBES)
        before = ask_probes(s.policy, None, chosen=probes)
        values = []
        for probe, one, route in zip(probes, before, routes(adapters, [probe.question for probe in probes]), strict=True):
            to = adapters.load(route.found.entry) if route.found else None
            values.append((ask_probes(s.policy, to, chosen=[probe])[0] if to else one).value or 0.0)
    return Found(immediate, final, 1 - fmean(inside), values, tokens, 0.0)


def routed(s: Stream, adapters: Adapters, tasks: Sequence[Task]) -> list[Scores]:
    """Questions asked as `selfedit ask` asks them."""
    flat = [(n, q) for n, task in enumerate(tasks) for q in task.report_questions]
    chosen = routes(adapters, [q.question for _, q in flat])
    most = s.policy.recipe.questions.max_tokens
    said = s.policy.sample([request(s.policy, adapters, who, q.question, most) for who, (_, q) in zip(chosen, flat, strict=True)])
    found: list[Scores] = [[] for _ in tasks]
    for (n, q), completion in zip(flat, said, strict=True):
        found[n].append(graded(completion.text.strip(), q))
    return found


def chosen_by(pick: Callable[[int, int], int]) -> Callable[[Stream], Found]:
    """The library's adapters, the title given, and the adapter picked by number of document and of documents."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        handles = [s.policy.engine.load(s.folder / "made" / str(n)) for n in range(len(s.tasks))]
        scores = asked(s.policy, [Asked(handles[pick(n, len(handles))], task, task.report_questions) for n, task in enumerate(s.tasks)])
        for handle in handles:
            s.policy.engine.drop(handle)
        return Found(scores, scores, 1.0, [], tokens, 0.0)

    return way


def retrieving(right: bool, adapted: bool) -> Callable[[Stream], Found]:
    """The passage in the prompt: the right one, or the one that BM25 finds; asked of the model as it came, or of the passage's adapter."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        known = Library(s.folder)
        texts = {task.title + task.context: task for task in s.tasks}

        def place(task: Task, question: Question) -> Task:
            if right:
                return task
            [ones] = candidates(known, [question.question], 1)
            return texts[ones[0].document.title + ones[0].document.context] if ones else task

        handles = {task.id: s.policy.engine.load(s.folder / "made" / str(n)) for n, task in enumerate(s.tasks)} if adapted else {}
        scores = in_view(s.policy, s.tasks, lambda task, q: place(task, q).context, lambda task, q: handles.get(place(task, q).id))
        for handle in handles.values():
            s.policy.engine.drop(handle)
        return Found(scores, scores, 1.0, [], tokens if adapted else 0, 0.0)

    return way


RANDOM = random.Random(0)
WAYS: dict[str, Callable[[Stream], Found]] = {
    "untouched": untouched,
    "library": library,
    "right_adapter": chosen_by(lambda n, of: n),
    "random_adapter": chosen_by(lambda n, of: RANDOM.randrange(of)),
    "merge": merging(replay=False),
    "merge_with_replay": merging(replay=True),
    "consolidated": consolidated,
    "retrieved_passage": retrieving(right=False, adapted=False),
    "right_passage": retrieving(right=True, adapted=False),
    "library_and_retrieval": retrieving(right=False, adapted=True),
}
DEFAULT = "library"


# ---------------------------------------------------------------- figures


def figures(name: str, found: Sequence[Found], base: Sequence[Found], edits: int) -> dict[str, Any]:
    """A way over all its sequences. `average` counts right answers, `f1` their F1."""

    def groups(scores: Sequence[list[Scores]], measure: int) -> list[list[float]]:
        return [[one[measure] for one in document] for sequence in scores for document in sequence]

    final, before = ([one.final for one in ones] for ones in (found, base))
    early = [[one.final[:-1] for one in found], [one.immediate[:-1] for one in found]]
    probes = [(one.ability, b.ability) for one, b in zip(found, base, strict=True) if one.ability]
    gain, immediate = (_mean(groups(ones, 0)) for ones in (final, [one.immediate for one in found]))
    start = _mean(groups(before, 0))
    change = paired_difference([[v] for a, _ in probes for v in a], [[v] for _, b in probes for v in b]) if probes else None
    return {
        "name": name,
        "default": name == DEFAULT,
        "edits": edits,
        "sequences": len(found),
        "average": gain,
        "average_over_untouched": _bounds(paired_difference(groups(final, 0), groups(before, 0))),
        "f1": _mean(groups(final, 1)),
        "f1_over_untouched": _bounds(paired_difference(groups(final, 1), groups(before, 1))),
        "immediate": immediate,
        "backward_transfer": _bounds(paired_difference(groups(early[0], 0), groups(early[1], 0))),
        "retained_gain": (gain - start) / (immediate - start) if immediate > start else None,
        "locality": fmean(one.locality for one in found),
        "ability_change": _bounds(change) if change else None,
        "tokens": round(fmean(one.tokens for one in found)),
        "seconds": round(fmean(one.seconds for one in found)),
    }


def _mean(groups: Sequence[Sequence[float]]) -> float:
    return fmean(value for group in groups for value in group)


def _bounds(interval: Any) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def main() -> None:
    """All stages that are not there yet, then results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()
    tune()
    policy = open_policy(load_recipe(Path(__file__).parent / "recipe.toml"))
    replay = tuple(own_answers(policy, policy.inner.settings.replay))
    passages = read_documents([args.passages], policy.recipe.documents, print)
    random.Random(0).shuffle(passages)
    results: dict[str, list[Found]] = {}
    for number in range(args.sequences):
        mine = [replace(p, id=f"{number}-{i}") for i, p in enumerate(passages[number * args.length : (number + 1) * args.length])]
        folder = args.out / f"{args.length}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = policy.domain.tasks(policy, mine, "learn", lambda done, of: None)
        edits = [one.edit.examples for one in policy.propose(tasks, number, policy.recipe.propose)]
        sequence = Stream(policy, tasks, edits, replay, folder)
        for name in args.ways:
            file, begun = folder / f"{name}.json", time.monotonic()
            if not file.is_file():
                found = WAYS[name](sequence)
                file.write_text(json.dumps(asdict(replace(found, seconds=time.monotonic() - begun))), encoding="utf-8")
            results.setdefault(name, []).append(Found(**json.loads(file.read_text(encoding="utf-8"))))
            one = results[name][-1]
            print(f"{folder.name} {name}: {100 * _mean([[r for r, _ in d] for d in one.final]):.1f} % right, {one.seconds:.0f} s", flush=True)
    rows = [figures(name, found, results["untouched"][: len(found)], args.length) for name, found in results.items()]
    (args.out / f"results-{args.length}.json").write_text(json.dumps({"ways": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
