"""What the adapters that were kept answer to fresh questions becomes training data, where their answers agree and the passage confirms them.

A question is written by the policy with the passage in view, and is like none that the task has. Its adapter answers it several times without the
passage. The most frequent answer is learned, in the form in which questions are asked, if enough answers agree and the untrained model gives the
same one with the passage in view. Reward questions whose answers are known go the same way, and are not learned: of them the report says how often
what came through was right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from selfedit.config import Harvest
from selfedit.errors import EngineError
from selfedit.loop.run import Run, chunks
from selfedit.policy import Asked
from selfedit.policy.shelf import Shelf
from selfedit.rewards.majority import elected, readable
from selfedit.text import says
from selfedit.types import Adapter, Example, Harvested, Progress, Prompt, Question, SampleRequest, Sampling, Task, TrainJob


@dataclass(frozen=True, slots=True)
class Decision:
    """The most frequent answer of an adapter, the share of its answers that say the same, and the reason why it is not learned, empty where it is."""

    answer: str
    share: float
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question that is put to the adapter of its task; `known` where its right answer is, so that it is for measuring alone."""

    task: Task
    question: Question
    known: bool


def harvest(run: Run, jobs: Mapping[str, TrainJob], tasks: Sequence[Task], kept: Shelf, progress: Progress, number: int = 0) -> list[Harvested]:
    """What came of every question. `jobs` are the trainings of the tasks' adapters, by task; those that are `kept` are not done again.

    Another `number` asks and draws anew.
    """
    policy, settings = run.policy, run.recipe.harvest
    fresh = policy.domain.fresh(policy, tasks, settings.questions, progress, number)
    again = (number,) if number else ()
    wanted = [Wanted(task, question, known=False) for task, some in zip(tasks, fresh, strict=True) for question in some]
    wanted += [Wanted(task, question, known=True) for task in tasks for question in task.reward_questions if question.answer]
    with adapters_of(run, jobs, kept, progress) as adapters:
        asked = [Asked(adapters[one.task.id], one.task, (one.question,), policy.seed("harvest", one.task.id, *again)) for one in wanted]
        drawn = policy.draw(asked, settings.answers, settings.temperature, progress)
    said = [tuple(answer.prediction for answer in some) for some in drawn]
    shown = in_view(run, wanted, progress)
    decided = [decide(settings, *pair) for pair in zip(said, shown, strict=True)]
    return [_record(run, *one) for one in zip(wanted, said, shown, decided, strict=True)]


def _record(run: Run, one: Wanted, drawn: tuple[str, ...], shown: tuple[str, ...], decision: Decision) -> Harvested:
    through = not decision.reason
    right = run.policy.domain.correct(decision.answer, one.question) if one.known and through else None
    return Harvested(one.task.id, one.question.question, decision.answer, drawn, shown, decision.share, decision.reason, one.known, right)


@contextmanager
def adapters_of(run: Run, jobs: Mapping[str, TrainJob], kept: Shelf, progress: Progress) -> Iterator[dict[str, Adapter]]:
    """The adapters of these trainings, by task, until the end of the block. Raises EngineError where one cannot be trained."""
    engine, found = run.policy.engine, {name: kept.find(job) for name, job in jobs.items()}
    missing = [name for name, place in found.items() if place is None]
    with ExitStack() as stack:
        trained = stack.enter_context(run.policy.adapters([jobs[name] for name in missing], progress))
        adapters: dict[str, Adapter] = {}
        for name, one in zip(missing, trained, strict=True):
            if one.adapter is None:
                raise EngineError(f"an adapter could not be trained again to answer: {one.failure}")
            adapters[name] = one.adapter
        for name, place in found.items():
            if place is not None:
                adapters[name] = engine.load(place)
                stack.callback(engine.drop, adapters[name])
        yield adapters


def in_view(run: Run, wanted: Sequence[Wanted], progress: Progress) -> list[tuple[str, ...]]:
    """Independent answers of the untrained model, with the passage in view: `questions.samples` for each question."""
    policy, settings = run.policy, run.recipe.questions

    def request(one: Wanted, number: int) -> SampleRequest:
        prompt = Prompt(policy.domain.open_book(one.task, one.question), continued=not policy.chat)
        seed = policy.seed("harvest, shown", one.task.id, one.question.question, number)
        return SampleRequest(policy.render.prompt(prompt), Sampling(settings.max_tokens, 0.7, 0.95, stop=policy.render.answer_stop, seed=seed))

    said = policy.sample([request(one, number) for one in wanted for number in range(settings.samples)], progress)
    return [tuple(completion.text for completion in some) for some in chunks(said, settings.samples)]


def decide(settings: Harvest, drawn: Sequence[str], shown: Sequence[str]) -> Decision:
    """Whether an adapter's answers to a question are learned from. `drawn` are its own, `shown` those with the passage in view."""
    read = [readable(said, settings.max_words) for said in drawn]
    votes = Counter(said for said in read if said)
    winner = elected(votes, 0.0)
    share = max(votes.values(), default=0) / max(1, len(drawn))
    if winner is None or share < settings.share:
        return Decision("", share, "its answers do not agree" if votes else "no answer can be read")
    answer = drawn[read.index(winner)].strip()
    return Decision(answer, share, "" if confirmed(answer, shown) else "the passage does not confirm it")


def confirmed(answer: str, shown: Sequence[str]) -> bool:
    """Whether most of the answers with the passage in view say what the answer says, or it says what they say."""
    return 2 * sum(says(one, answer) or says(answer, one) for one in shown) > len(shown)


def learned(run: Run, found: Sequence[Harvested], task: Task) -> list[Example]:
    """The answers that are learned about a task, as its questions are asked."""
    used = [Question(one.question, one.answer) for one in found if one.used and one.task_id == task.id]
    return [run.policy.domain.exchange(task, question) for question in used]
