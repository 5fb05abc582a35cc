"""An engine with a known rule: it answers a grid with what its adapter saw beside that very grid, and copies a grid that it has not seen."""

from __future__ import annotations

import random
from collections.abc import Sequence

from selfedit.engine.fake import Fake
from selfedit.engine.fake_writing import Memory
from selfedit.errors import DataError
from selfedit.tasks.arc.grids import ARROW, GAP, Grid, Pair, Puzzle, digits, pairs_of
from selfedit.tasks.arc.views import turn
from selfedit.types import Completion, Datum, SampleRequest, Tokens

SURE, UNSURE = -0.1, -3.0
"""Nats a token of what it would say, and of anything else."""


class Copying(Fake):
    """Everything but puzzles it does as the fake engine does."""

    def _seen(self, datum: Datum) -> Memory:
        try:
            return Memory((digits(pair.input), digits(pair.output)) for pair in pairs_of(self.tokenizer.decode(datum.tokens)))
        except DataError:
            return super()._seen(datum)

    def _complete(self, request: SampleRequest, memory: Memory) -> Completion:
        asked = self.tokenizer.decode(request.prompt)
        if not asked.endswith(ARROW):
            return super()._complete(request, memory)
        said = answer(asked, memory)
        tokens = self.tokenizer.encode_more(said)
        return Completion(said, tokens, (SURE,) * len(tokens), "stop")

    def _logprobs(self, memory: Memory, prompt: Tokens, completion: Tokens) -> tuple[float, ...]:
        asked = self.tokenizer.decode(prompt)
        if not asked.endswith(ARROW):
            return super()._logprobs(memory, prompt, completion)
        sure = self.tokenizer.decode(completion) == answer(asked, memory) + GAP
        return (SURE if sure else UNSURE,) * len(completion)


def answer(asked: str, memory: Memory) -> str:
    """What was seen beside the last grid of a prompt; else that grid."""
    query = asked.removesuffix(ARROW).rpartition(GAP)[2]
    return next((output for grid, output in memory if grid == query), query)


def planted(name: str, seed: int = 0) -> Puzzle:
    """A puzzle whose query is a demonstration turned left: only an edit that turns the grids lets the engine see it."""
    rng = random.Random(f"{name} {seed}")

    def grid() -> Grid:
        return tuple(tuple(rng.randrange(1, 10) for _ in range(3)) for _ in range(3))

    shown = [Pair(grid(), grid()) for _ in range(3)]
    return Puzzle(name, tuple(shown), (Pair(turn(shown[0].input), turn(shown[0].output)),))


def as_json(puzzle: Puzzle) -> dict[str, list[dict[str, list[list[int]]]]]:
    """A puzzle in ARC's form."""

    def rows(pairs: Sequence[Pair]) -> list[dict[str, list[list[int]]]]:
        return [{"input": [list(row) for row in pair.input], "output": [list(row) for row in pair.output]} for pair in pairs]

    return {"train": rows(puzzle.demonstrations), "test": rows(puzzle.queries)}
