"""How a puzzle's questions are answered: greedy answers in several views, turned back and put together, in one call to write and one to score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from selfedit.grouping import grouped
from selfedit.tasks.arc.forms import Form
from selfedit.tasks.arc.grids import Grid, Pair, digits, pairs_of, parse
from selfedit.tasks.arc.views import View
from selfedit.tasks.arc.voting import Rank, candidates, ranked
from selfedit.types import Adapter, Answer, Progress, Question, SampleRequest, Sampling, Score, ScoreRequest, Task, Tokens

if TYPE_CHECKING:
    from selfedit.policy import Policy


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are put together: `rescored` candidates at most are scored in `scored_views` views, and `attempts` of them are the answer."""

    form: Form
    scored_views: int
    rescored: int
    rank: Rank
    attempts: int


@dataclass(frozen=True, slots=True)
class Query:
    """A question about a task, put to an adapter (None: the current weights) in several views."""

    adapter: Adapter | None
    shown: tuple[Pair, ...]
    question: Question
    views: tuple[View, ...]

    @property
    def grid(self) -> Grid:
        """The grid that the rule is to be applied to."""
        found = parse(self.question.question)
        assert found is not None  # the domain wrote it
        return found

    def some(self, number: int) -> tuple[View, ...]:
        """So many of the views, spread over all."""
        return self.views[:: max(1, len(self.views) // number)][:number]


def query(adapter: Adapter | None, task: Task, question: Question, views: Sequence[View]) -> Query:
    """A question with the task's demonstrations; one that asks for a demonstration is put without it."""
    return Query(adapter, shown(task, (question,)), question, tuple(views))


def shown(task: Task, asked: Sequence[Question]) -> tuple[Pair, ...]:
    """The task's demonstrations, without those that the questions ask for."""
    hidden = {question.question for question in asked}
    return tuple(pair for pair in pairs_of(task.context) if digits(pair.input) not in hidden)


def answered(policy: Policy, queries: Sequence[Query], manner: Manner, progress: Progress | None = None) -> list[Answer]:
    """An answer to each query: its attempts, the best first, and the log-likelihood a token of the right one, nats, over the scored views."""
    flat = [(n, view) for n, query in enumerate(queries) for view in query.views]
    said = policy.sample([_request(policy, queries[n], view, manner.form) for n, view in flat], progress)
    grids: list[list[Grid | None]] = [[] for _ in queries]
    for (n, view), completion in zip(flat, said, strict=True):
        found = manner.form.read(completion.text)
        grids[n].append(None if found is None else view.undo(found))
    votes = [candidates(some, manner.rescored) for some in grids]
    golds = [parse(query.question.answer) for query in queries]
    wanted = [dict.fromkeys([*(grid for grid, _ in some), *([gold] if gold else [])]) for some, gold in zip(votes, golds, strict=True)]
    scores = _scores(policy, queries, [list(some) for some in wanted], manner, progress)
    return [_answer(query, some, gold, score, manner) for query, some, gold, score in zip(queries, votes, golds, scores, strict=True)]


def likelihoods(policy: Policy, queries: Sequence[Query], manner: Manner, progress: Progress | None = None) -> list[float | None]:
    """The log-likelihood a token of the right answers over the scored views, nats; nothing is written."""
    golds = [parse(query.question.answer) for query in queries]
    scores = _scores(policy, queries, [[gold] if gold else [] for gold in golds], manner, progress)
    return [_mean(score[gold]) if gold else None for gold, score in zip(golds, scores, strict=True)]


def _answer(query: Query, votes: Sequence[tuple[Grid, int]], gold: Grid | None, scores: dict[Grid, list[Score]], manner: Manner) -> Answer:
    summed = {grid: _finite(sum(sum(one.logprobs) for one in some)) for grid, some in scores.items()}
    attempts = ranked(votes, summed, manner.rank, manner.attempts)
    said = "\n\n".join(map(digits, attempts))
    return Answer(query.question, said, gold in attempts if gold else None, _mean(scores[gold]) if gold else None)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _mean(scores: Sequence[Score]) -> float | None:
    value = fmean(score.mean for score in scores)
    return value if math.isfinite(value) else None


def _request(policy: Policy, query: Query, view: View, form: Form) -> SampleRequest:
    sampling = Sampling(longest(policy, query, form), stop=(form.stop,))
    return SampleRequest(_prompt(policy, query, view, form), sampling, query.adapter)


def _prompt(policy: Policy, query: Query, view: View, form: Form) -> Tokens:
    pairs = [view.pair(pair) for pair in view.ordered(query.shown)]
    return policy.render.woven([(piece, 0.0) for piece in form.prompt(pairs, view.apply(query.grid))]).tokens


def longest(policy: Policy, query: Query, form: Form) -> int:
    """The most tokens of an answer: half as much again as the largest demonstrated output, and more where the query is larger than any input."""
    size = max(len(policy.engine.tokenizer.encode_more(form.answered(pair.output))) for pair in query.shown) if query.shown else 0
    cells = max((len(pair.input) * len(pair.input[0]) for pair in query.shown), default=1)
    larger = max(1.0, len(query.grid) * len(query.grid[0]) / cells)
    return round(1.5 * max(size, 16) * larger) + 4


def _scores(
    policy: Policy, queries: Sequence[Query], grids: Sequence[Sequence[Grid]], manner: Manner, progress: Progress | None
) -> list[dict[Grid, list[Score]]]:
    """The scores of grids as answers to each query, in its scored views. One call for all."""
    flat = [(n, grid, view) for n, some in enumerate(grids) for grid in some for view in queries[n].some(manner.scored_views)]
    encode = policy.engine.tokenizer.encode_more
    requests = [
        ScoreRequest(_prompt(policy, queries[n], view, manner.form), encode(manner.form.answered(view.apply(grid))), queries[n].adapter)
        for n, grid, view in flat
    ]
    scored = zip(flat, policy.engine.score(requests, progress), strict=True)
    of_query = grouped((n, (grid, score)) for (n, grid, _), score in scored)
    return [grouped(of_query.get(n, ())) for n in range(len(queries))]
