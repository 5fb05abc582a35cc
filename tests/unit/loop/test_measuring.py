"""From adapters to rewards, on the fake engine.

1. Inner seed s is the same for every candidate of a group, differs by s, task and round, and owes nothing to the self-edit.
2. Only what the reward needs is measured.
3. A candidate whose training failed is unscored and is not measured; its group goes on without it.
4. Groups are never torn by a chunk.
5. Questions to which nobody knows the answer are learned from with a vote, and refused by rewards that need answers.
6. The policy's training stops where votes collapse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.ledger.made_up import proposal, task
from tests.unit.loop.house import Silent

from selfedit.config import Recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import DataError
from selfedit.guards import stop
from selfedit.ledger import Ledger, Reader
from selfedit.loop import Run, evaluate, train_policy
from selfedit.loop.evaluate import gold
from selfedit.loop.round import one_round
from selfedit.policy import Asked, Policy
from selfedit.strategies import pieces
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.text import contains, holding
from selfedit.types import Completion, Passage, Progress, Question, SampleRequest, Score, ScoreRequest, Task, Trained, TrainJob


class Watched(Fake):
    """Keeps what it was asked for."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.jobs: list[TrainJob] = []
        self.asked: Counter[str] = Counter()
        self.golds: set[str] = set()

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        self.jobs += jobs
        return super().train(jobs, progress)

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        self.asked["drawn" if requests and requests[0].sampling.temperature else "greedy"] += sum(r.adapter is not None for r in requests)
        return super().sample(requests, progress)

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        self.golds |= {self.tokenizer.decode(r.completion).strip() for r in requests}
        self.asked["scored"] += sum(r.adapter is not None for r in requests)
        return super().score(requests, progress)


def recipe(**more: Any) -> Recipe:
    return parse_recipe({"engine": {"type": "fake"}, "propose": {"candidates": 3, "strategies": ["span-qa", "implications"]}} | more)


def improved(folder: Path, engine: Fake, settings: Recipe, passages: Sequence[Passage] | None = None) -> list[Any]:
    """Candidates of one round on two passages."""
    with Ledger.create(folder, command="test", recipe=settings, environment={}) as ledger:
        policy, given = Policy(engine, settings), passages or bundled_corpus("train")[:2]
        run = Run(policy, ledger, Silent())
        tasks = run.step("tasks", Task, "", lambda progress: policy.domain.tasks(policy, given, "learn", progress, gold=gold(run)))
        one_round(run, tasks, 0, settings.open("algorithm"))
    with Reader(folder) as reader:
        return reader.candidates()


def test_seeds_are_paired_across_a_group(tmp_path: Path) -> None:  # promise 1
    engine = Watched()
    improved(tmp_path / "run", engine, recipe(inner={"seeds": 2}))
    seeds = [job.seed for job in engine.jobs]
    groups = [seeds[:6], seeds[6:]]  # three candidates with two seeds each
    assert all(group == group[:2] * 3 for group in groups)
    assert len(set(seeds)) == 4
    assert len({job.data for job in engine.jobs}) > 2  # of different self-edits
    policy = Policy(Fake(), recipe())
    one, other, later = proposal(task(0), 0, 0), proposal(task(0), 0, 1), proposal(task(0), 1, 0)
    assert one.seed != other.seed and policy.inner_seed(one, 0) == policy.inner_seed(other, 0)
    assert len({policy.inner_seed(p, s) for p in (one, later, proposal(task(1), 0, 0)) for s in (0, 1)}) == 6
    assert policy.inner_seed(one, 0) != Policy(Fake(), recipe(seed=1)).inner_seed(one, 0)


@pytest.mark.parametrize(
    ("reward", "greedy", "drawn", "scored"),
    [("correctness", 1, 0, 1), ("likelihood", 1, 0, 1), ("mix", 1, 0, 1), ("majority", 0, 8, 0), ("perplexity", 0, 0, 0)],
)
def test_only_what_is_needed_is_measured(tmp_path: Path, reward: str, greedy: int, drawn: int, scored: int) -> None:  # promise 2
    engine = Watched()
    found = improved(tmp_path / "run", engine, recipe(reward={"type": reward}))
    with Reader(tmp_path / "run") as reader:
        tasks, steps = reader.tasks(), {step.name for step in reader.steps()}
    exams = 3 * sum(len(task.reward_questions) for task in tasks)
    assert engine.asked["greedy"] == greedy * exams and engine.asked["drawn"] == drawn * exams
    assert engine.asked["scored"] == scored * exams or reward == "perplexity"
    assert ("round-0/base" in steps) == bool(greedy)
    assert all(c.reward.kind == reward and c.reward.value is not None for c in found)
    assert sum(len(c.answers) for c in found) == (greedy + drawn) * exams


def test_likelihood_is_measured_in_the_form_that_is_taught(tmp_path: Path) -> None:  # promise 2
    for of in ("answer", "sentence"):
        engine = Watched()
        found = improved(tmp_path / of, engine, recipe(reward={"type": "likelihood", "of": of}))
        with Reader(tmp_path / of) as reader:
            asked = [(t, q) for t in reader.tasks() for q in t.reward_questions]
        expected = {holding(pieces(t.context), q.question, q.answer) if of == "sentence" else q.answer for t, q in asked}
        assert all(any(gold.startswith(one) for gold in engine.golds) for one in expected) and len(engine.golds) == len(expected)
        assert all(c.reward.value is not None for c in found)


def test_a_choice_is_among_all_sentences_of_the_passage(tmp_path: Path) -> None:  # promise 2
    engine = Watched()
    found = improved(tmp_path / "run", engine, recipe(reward={"type": "choice"}))
    with Reader(tmp_path / "run") as reader:
        tasks = reader.tasks()
    choices = [len(pieces(t.context)) for t in tasks for q in t.reward_questions if choosable(t, q.answer)]
    assert engine.asked["scored"] == len(found) // len(tasks) * sum(choices)
    assert all(c.reward.value is not None and 0 <= c.reward.value <= 1 for c in found)


def choosable(one: Task, answer: str) -> bool:
    return len({contains(sentence, answer) for sentence in pieces(one.context)}) == 2


def test_what_is_chosen_holds_the_answer() -> None:  # promise 2
    """Of three sentences with odds 1 : 2 : 5, two hold the brook and one 1847: 3/8 and 2/8. All of them hold a word, none of them another."""
    sentences = ("The brook is cold.", "The brook was named in 1847.", "The mill stands in Skerrow.")

    class Weighed(Fake):
        def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
            said = [self.tokenizer.decode(r.completion) for r in requests]
            odds = [next(weight for text, weight in zip(sentences, (1, 2, 5), strict=True) if text in one) for one in said]
            return [Score((math.log(weight) - 3, -4.0)) for weight in odds]

    asked = tuple(Question(f"Which {n}?", answer) for n, answer in enumerate(("brook", "1847", "The", "nowhere")))
    one = Task("t", "Skerrow", " ".join(sentences), asked, ())
    [found] = Policy(Weighed(), recipe()).gold([Asked(None, one, asked)], form="choice")
    assert [value and math.exp(value) for value in found] == [pytest.approx(3 / 8), pytest.approx(2 / 8), None, None]
    alone = Task("t", "Skerrow", sentences[0], asked[:1], ())
    assert Policy(Weighed(), recipe()).gold([Asked(None, alone, asked[:1])], form="choice") == [(None,)]


def test_perplexity_trains_on_nothing_it_measures(tmp_path: Path) -> None:
    engine = Watched()
    settings = recipe(reward={"type": "perplexity"})
    found = improved(tmp_path / "run", engine, settings)
    with Reader(tmp_path / "run") as reader:
        hidden = {t.id: settings.open("reward").texts(t) for t in reader.tasks()}
    assert engine.asked["scored"] == 3 * sum(map(len, hidden.values())) > 0
    for candidate, job in zip(found, engine.jobs, strict=True):
        trained = [engine.tokenizer.decode(datum.tokens) for datum in job.data]
        assert not [s for s in hidden[candidate.proposal.task_id] if any(contains(text, s) for text in trained)]


def test_a_failed_candidate_is_unscored_and_its_group_goes_on(tmp_path: Path) -> None:  # promise 3
    failing: list[TrainJob] = []

    def diverges(job: TrainJob) -> bool:
        failing.append(job)
        return len(failing) == 2

    found = improved(tmp_path / "run", Fake(diverges=diverges), recipe(reward={"type": "majority", "threshold": 0}))
    assert [c.reward.value is None for c in found] == [False, True, False, False, False, False]
    assert found[1].reward.reason.startswith("diverged at step 2") and found[1].answers == () and found[1].tokens > 0


@pytest.mark.parametrize(("chunk", "chunks"), [(1, 2), (4, 2), (6, 1), (16, 1)])
def test_groups_stay_together(tmp_path: Path, chunk: int, chunks: int) -> None:  # promise 4
    improved(tmp_path / "run", Fake(), recipe(chunk=chunk))
    with Reader(tmp_path / "run") as reader:
        sizes = [step.records for step in reader.steps() if "candidates" in step.name]
    assert len(sizes) == chunks and all(size % 3 == 0 for size in sizes)


def unknown(passages: Sequence[Passage]) -> list[Passage]:
    return [Passage(p.id, p.title, p.context, tuple(Question(q.question, "", fact=q.fact) for q in p.questions)) for p in passages]


def test_questions_that_nobody_can_answer(tmp_path: Path) -> None:  # promise 5
    passages = unknown(bundled_corpus("train")[:2])
    found = improved(tmp_path / "run", Fake(), recipe(reward={"type": "majority", "threshold": 0}), passages)
    assert all(c.reward.value is not None and c.answers and all(a.correct is None for a in c.answers) for c in found)
    with pytest.raises(DataError, match=r"\d+ questions have no answer, which rating self-edits by right answers needs; use reward majority without"):
        improved(tmp_path / "other", Fake(), recipe(), passages)


def test_training_stops_where_votes_collapse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    monkeypatch.setattr("selfedit.guards.collapse.collapse", lambda *_: stop("it agrees with itself"))
    settings = recipe(reward={"type": "majority", "threshold": 0}, rounds=3)
    for _ in range(2):  # the second time everything is in the ledger
        opened = Ledger.open(tmp_path / "run") if (tmp_path / "run").exists() else None
        with opened or Ledger.create(tmp_path / "run", command="train", recipe=settings, environment={}) as ledger:
            train_policy(Run(Policy(Fake(), settings), ledger, Silent()), bundled_corpus("train")[:2], bundled_corpus("heldout")[:2])
    with Reader(tmp_path / "run") as reader:
        assert [v.decision for v in reader.verdicts()] == ["stop"]
        names = [step.name for step in reader.steps()]
        assert names[-2:] == ["round-1/guards", "evaluate/token_matched/0-0"] and "round-2/edits" not in names and "round-2" not in reader.rows()
        assert dict(reader.candidates()[0].reward.parts).keys() == {"vote_share", "decided", "readable"}


def test_every_seed_of_a_comparison_chooses_its_best_of_k_anew(tmp_path: Path) -> None:
    engine, settings = Watched(), recipe(eval={"baselines": ["best_of_k"], "seeds": 2})
    with Ledger.create(tmp_path / "run", command="test", recipe=settings, environment={}) as ledger:
        evaluate(Run(Policy(engine, settings), ledger, Silent()), bundled_corpus("heldout")[:2])
    choosing, answering = Counter(job.seed for job in engine.jobs), 2 * 2
    assert sorted(choosing.values()) == [1] * answering + [3] * 2 * 2  # of two documents under two seeds: three candidates each, and then the best
