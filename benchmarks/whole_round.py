"""A whole round of the inner loop: write self-edits, train an adapter on each, put the task's questions to it, score the gold answers, grade.

Everybody trains on the self-edits that the engine wrote, answers the same questions with as many tokens, and scores the same answers. What falls
into equal pieces is timed on some of them and multiplied; the engine's own training too, an epoch being like the next.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.bench import Bench
from benchmarks.contestants import Learner, Writer, fastest
from benchmarks.data import LORA, OPTIMIZER, passages
from benchmarks.machine import Cost, alternate, timed
from benchmarks.sampling import writing
from benchmarks.table import AUTHORS, CAREFUL, Row, rounded
from selfedit.engine.base import Engine
from selfedit.rewards import correct
from selfedit.strategies import Source, find
from selfedit.tasks.knowledge.split import divide
from selfedit.types import Adapter, Example, Prompt, SampleRequest, Sampling, ScoreRequest, Task, Tokens, TrainJob, Turn

Parts = dict[str, Cost]
BATCH = 8


@dataclass(frozen=True, slots=True)
class Exam:
    """A task's questions as tokens, and their gold answers as tokens and as text."""

    pairs: tuple[tuple[Tokens, Tokens], ...]
    gold: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """The round: prompts of T tokens, one a task; its exams; jobs, `edits` a task."""

    prompts: list[Tokens]
    exams: list[Exam]
    jobs: list[TrainJob]
    edits: int
    writing: Sampling
    answering: Sampling

    def tokens(self, jobs: Sequence[TrainJob]) -> int:
        """Of an epoch."""
        return sum(len(d.tokens) for job in jobs for d in job.data)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole round."""
        return sum(job.epochs * len(job.data) for job in self.jobs)


def run(bench: Bench) -> list[Row]:
    """Two rows."""
    work = prepare(bench)
    with bench.adapters() as folders:
        bf16, learners = torch.bfloat16, [Learner(bench.folder, torch.bfloat16, bench.device, LORA) for _ in range(2)]
        rivals = Rivals(bench, work, Writer(bench.folder, bf16, bench.device), Writer(bench.folder, bf16, bench.device, folders), *learners)
        rivals.warm_up()
        rows: list[Row] = []
        for threads in bench.modes:
            engine, full = bench.engine(threads), threads > 1 and bench.sizes.repetitions > 1
            parts: dict[str, list[Parts]] = {"engine": [], AUTHORS.against: [], CAREFUL.against: []}
            runs = {
                "engine": partial(noted, parts["engine"], partial(ours, engine, work, bench.device, work.jobs[0].epochs if full else 1)),
                AUTHORS.against: partial(noted, parts[AUTHORS.against], rivals.authors),
                CAREFUL.against: partial(noted, parts[CAREFUL.against], rivals.careful),
            }
            bench.say("warming up: engine")
            if threads == 1:
                ours(engine, replace(work, prompts=work.prompts[:1], exams=work.exams[:1], jobs=work.jobs[: work.edits]), bench.device, 1)
            costs = alternate(runs, bench.sizes.repetitions if threads == 1 else 1, bench.say)
            for i, line in enumerate((AUTHORS, CAREFUL)):
                if threads > 1:
                    bench.whole(rows[i], costs["engine"], costs[line.against])
                    rows[i]["whole_round_wall_s"] = rounded(costs["engine"][0].wall_s)
                    rows[i]["whole_round_cpu_s"] = rounded(costs["engine"][0].cpu_s)
                    continue
                shares = {"parts": median(bench, parts["engine"]), "against_parts": median(bench, parts[line.against])}
                rows.append(bench.row(line, costs["engine"], costs[line.against], len(work.jobs), "edits", note=rivals.note, **shares))
    return rows


def noted(into: list[Parts], work: Callable[[], Parts]) -> Cost:
    """The sum of the parts, which are kept."""
    into.append(work())
    return sum(into[-1].values(), Cost())


def median(bench: Bench, parts: Sequence[Parts]) -> dict[str, float]:
    """Seconds of each part."""
    return {name: rounded(statistics.median(bench.seconds([p[name] for p in parts]))) for name in parts[0]}


# ------------------------------------------------------------ what is to be done


def prepare(bench: Bench) -> Work:
    """The engine writes the self-edits that everybody trains on."""
    policy, sizes = bench.policy, bench.sizes
    tasks = [divide(p, 0.5, bench.seed) for p in passages()[: sizes.tasks]]
    prompts = writing(bench, sizes.tasks)
    sampling = Sampling(sizes.edit_tokens, temperature=1.0, top_p=0.95, seed=bench.seed)
    bench.say("writing the self-edits that everybody trains on")
    written = iter(policy.engine.sample(requests(prompts, sizes.edits, sampling)))
    jobs: list[TrainJob] = []
    for task in tasks:
        prompt = find("implications").ask(Source(task.title, task.context, policy.chat, bench.seed))[0]
        for _ in range(sizes.edits):
            data = tuple(policy.render.datum(e) for e in examples(task, prompt, next(written).text))
            jobs.append(TrainJob(data, LORA, OPTIMIZER, sizes.epochs, 1, seed=len(jobs)))
    tokenizer = policy.engine.tokenizer
    exams = []
    for task in tasks:
        asked = [policy.question(task.title, q.question) for q in task.reward_questions]
        answers = [tokenizer.encode_more(q.answer) + tokenizer.end for q in task.reward_questions]
        exams.append(Exam(tuple(zip(asked, answers, strict=True)), tuple(q.answer for q in task.reward_questions)))
    return Work(prompts, exams, jobs, sizes.edits, sampling, Sampling(sizes.new_tokens, seed=bench.seed))


def examples(task: Task, prompt: Prompt, text: str) -> tuple[Example, ...]:
    """What a completion, cut off at its limit, is made into."""
    return find("implications").build(task.title, task.context, (Turn(prompt, text, "length"),)).examples


def requests(prompts: Sequence[Tokens], edits: int, sampling: Sampling) -> list[SampleRequest]:
    """`edits` samples a prompt."""
    return [SampleRequest(p, replace(sampling, seed=i * edits + j)) for i, p in enumerate(prompts) for j in range(edits)]


# ------------------------------------------------------------ the engine


def ours(engine: Engine, work: Work, device: str, epochs: int) -> Parts:
    """Four calls. `epochs` of the training are done and stand for all."""
    write, _ = timed(lambda: engine.sample(requests(work.prompts, work.edits, work.writing)), device)
    jobs = [replace(job, epochs=epochs) for job in work.jobs]
    train, trained = timed(lambda: engine.train(jobs), device)
    assert all(t.adapter for t in trained), [t.failure for t in trained]
    asked: list[tuple[Adapter | None, Exam]] = [(None, exam) for exam in work.exams]  # the base's own answers, once
    asked += [(t.adapter, work.exams[i // work.edits]) for i, t in enumerate(trained)]

    def answer() -> int:
        found = engine.sample([SampleRequest(question, work.answering, who) for who, exam in asked for question, _ in exam.pairs])
        return sum(correct(c.text, gold) for c, gold in zip(found, [g for _, exam in asked for g in exam.gold], strict=True))

    answers, _ = timed(answer, device)
    score, _ = timed(lambda: engine.score([ScoreRequest(*pair, who) for who, exam in asked for pair in exam.pairs]), device)
    for t in trained:
        if t.adapter:
            engine.drop(t.adapter)
    return {"write": write, "train": train * (work.jobs[0].epochs / epochs), "answer": answers, "score": score}


# ------------------------------------------------------------ the others


class Rivals:
    """The two scripts one would write. They answer and score alike, and differ in how they write and train and in what they do twice."""

    def __init__(self, bench: Bench, work: Work, plain: Writer, adapted: Writer, padded: Learner, careful: Learner) -> None:
        self.bench, self.work, self.plain, self.adapted, self.padded, self.learner = bench, work, plain, adapted, padded, careful
        by_length = sorted(work.jobs, key=lambda job: sum(len(d.tokens) for d in job.data))
        count = min(bench.sizes.exams, len(by_length))
        self.some = [replace(by_length[(2 * i + 1) * len(by_length) // (2 * count)], epochs=1) for i in range(count)]
        self.names = adapted.names[: bench.sizes.exams]

    @property
    def note(self) -> str:
        """What was timed of it."""
        steps, edits = self.bench.sizes.padded_steps, len(self.work.jobs)
        return (
            f"timed: {steps} padded steps of {self.work.steps}; an epoch of {len(self.some)} edits of {edits} without padding; a batch of writing; "
            f"{len(self.names)} exams; multiplied by their counts. The engine: an epoch of all edits, its other parts whole"
        )

    def warm_up(self) -> None:
        """The faster attention for each."""
        bench, short = self.bench, replace(self.work.writing, max_tokens=min(10, self.work.writing.max_tokens))
        bench.say("warming up: the scripts")
        self.padded.model.set_attn_implementation("sdpa")
        fastest(self.learner.model, lambda: self.learner.train(self.some[0])[0], bench.primary)
        fastest(self.plain.model, lambda: timed(lambda: self.plain.generate(self.work.prompts, short), bench.device)[0], bench.primary)
        fastest(self.adapted.model, lambda: self.answer(1), bench.primary)

    def authors(self) -> Parts:
        """One adapter after another, padded to the full length, pads trained on; the base is asked again for every edit."""
        sizes, work = self.bench.sizes, self.work
        write, _ = timed(lambda: self.plain.generate(work.prompts[:1], work.writing, each=work.edits), self.bench.device)
        train, _ = self.padded.train(work.jobs[0], sizes.padded_to, sizes.padded_steps)
        exams = 2 * len(work.jobs)
        return {"write": write * len(work.prompts), "train": train * (work.steps / sizes.padded_steps)} | self.examine(exams)

    def careful(self) -> Parts:
        """No padding, prompts written together, the base asked once."""
        work = self.work
        rows = [p for p in work.prompts for _ in range(work.edits)]
        batch = rows[:: max(1, len(rows) // BATCH)][:BATCH]
        write, _ = timed(lambda: self.plain.generate(batch, work.writing), self.bench.device)
        train = sum((self.learner.train(job)[0] for job in self.some), Cost())
        times = work.jobs[0].epochs * work.tokens(work.jobs) / work.tokens(self.some)
        return {"write": write * (len(rows) / len(batch)), "train": train * times} | self.examine(len(work.jobs) + len(work.exams))

    def examine(self, exams: int) -> Parts:
        """Answers and scores of so many exams."""
        timed_exams = len(self.names)
        return {"answer": self.answer(timed_exams) * (exams / timed_exams), "score": self.score(timed_exams) * (exams / timed_exams)}

    def answer(self, exams: int) -> Cost:
        """A batch of all questions of a task, graded."""

        def one(name: str, exam: Exam) -> int:
            written = self.adapted.generate([question for question, _ in exam.pairs], self.work.answering, name)
            texts = [self.bench.policy.engine.tokenizer.decode(row) for row in written]
            return sum(correct(text, gold) for text, gold in zip(texts, exam.gold, strict=True))

        return sum((timed(partial(one, name, exam), self.bench.device)[0] for name, exam in self.sample(exams)), Cost())

    def score(self, exams: int) -> Cost:
        """The gold answers of a task in a batch."""
        return sum((timed(partial(self.adapted.logprobs, exam.pairs, name), self.bench.device)[0] for name, exam in self.sample(exams)), Cost())

    def sample(self, exams: int) -> list[tuple[str, Exam]]:
        """Some adapters, each with a task."""
        return [(name, self.work.exams[i % len(self.work.exams)]) for i, name in enumerate(self.names[:exams])]
