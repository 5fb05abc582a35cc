"""What an update of the policy gains where prompts begin alike: `python -m benchmarks.beginnings`.

One job, as a cold start trains it: prompts of a strategy about the first training documents of the bundled corpus, with what a good writer answers,
ten to a step. It is trained with common beginnings computed once, and without, in turns.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Any

from torch import Tensor

from benchmarks.machine import timed
from selfedit.config import packaged
from selfedit.engine.torch import branches
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.strategies import demonstrate
from selfedit.system.process import tune
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Datum, Demonstration, LoraShape, Optimizer, TrainJob

SHAPE, OPTIMIZER, BATCH = LoraShape(64, 128.0), Optimizer(lr=3e-4), 10
"""The update of the policy by default."""


def main() -> None:
    """Train in turns and print what each way took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--strategy", default="span-qa")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    tune()
    policy = open_policy(packaged("learn").model_copy(update={"model": args.model}))
    print(json.dumps(measured(policy, args.strategy, args.documents, args.repeat), indent=1))


def measured(policy: Policy, strategy: str, documents: int, repeat: int) -> dict[str, dict[str, float]]:
    """By way, medians over `repeat` turns: CPU and wall-clock seconds, and the tokens that went through the model."""
    job = update(policy, strategy, documents)
    base, forward, seen = policy.engine.base, policy.engine.base.forward, 0

    def counted(tokens: Tensor, *args: Any, **options: Any) -> Tensor:
        nonlocal seen
        seen += len(tokens)
        return forward(tokens, *args, **options)

    base.forward = counted
    found: dict[str, list[dict[str, float]]] = {"shared": [], "whole": []}
    usual = branches.LEAST
    try:
        for way in list(found) * repeat:
            seen, branches.LEAST = 0, usual if way == "shared" else 10**9
            cost, _ = timed(lambda: policy.engine.train([job]))
            found[way].append({"tokens": seen, "cpu_s": round(cost.cpu_s, 1), "wall_s": round(cost.wall_s, 1)})
    finally:
        base.forward, branches.LEAST = forward, usual
    return {way: {name: median(turn[name] for turn in turns) for name in turns[0]} for way, turns in found.items()}


def update(policy: Policy, strategy: str, documents: int) -> TrainJob:
    """The prompts of a strategy with what a good writer answers."""
    data = list[Datum]()
    for passage in bundled_corpus("train")[:documents]:
        for turn in demonstrate(Demonstration(passage), strategy, policy.chat):
            asked, said = policy.render.prompt(turn.prompt), policy.engine.tokenizer.encode_more(turn.completion)
            data.append(Datum((*asked, *said), (0.0,) * len(asked) + (1.0,) * len(said)))
    return TrainJob(tuple(data), SHAPE, OPTIMIZER, batch_size=BATCH)


if __name__ == "__main__":
    main()
