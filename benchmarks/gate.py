"""Fits the weights of the gate, and says how well it tells questions about learned documents from others: `python -m benchmarks.gate`.

Passages of the bundled corpus' training part are learned, an adapter each, with the settings of `selfedit learn`. Their questions ought to get in,
with their own document; everyday prompts of the part `gate`, and questions about passages that were not learned, ought not. The weights are of a
logistic regression with an L2 penalty. Half of the documents, and the everyday prompts of the part `check`, are left out of it and say how well it
does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from selfedit.library import Adapters, Document, Entry, Found, Library
from selfedit.library.gate import calibrated
from selfedit.library.routing import Features, features
from selfedit.policy import Policy
from selfedit.policy.proposing import propose
from selfedit.retention import everyday
from selfedit.store.artifacts import digest_of
from selfedit.types import Task

NAMES = [field.name for field in fields(Features)]
Rows = list[tuple[Features, bool]]


def learned(policy: Policy, tasks: Sequence[Task], adapters: Sequence[Path], root: Path) -> Library:
    """A library with an adapter for each task."""
    library = Library(root)
    entries = [Entry(digest_of(at), at, (Document.of(task),), "model", {}, "run") for task, at in zip(tasks, adapters, strict=True)]
    library.add(entries, note="benchmark")
    return library


def rows(policy: Policy, library: Library, tasks: Sequence[Task], prompts: Sequence[str]) -> list[tuple[str, list[tuple[Found, Features]]]]:
    """The title that each question is about, empty for `prompts`, with its candidates."""
    asked = [(task.title, q.question) for task in tasks for q in (*task.reward_questions, *task.report_questions)] + [("", one) for one in prompts]
    found: list[tuple[str, list[tuple[Found, Features]]]] = []
    with Adapters(policy.engine, library) as adapters:
        for i in range(0, len(asked), 32):
            some = asked[i : i + 32]
            each = features(adapters, [question for _, question in some])
            found += [(title, ones) for (title, _), ones in zip(some, each, strict=True)]
    return found


def labelled(found: Sequence[tuple[str, list[tuple[Found, Features]]]]) -> Rows:
    """Every candidate, and whether the question is about its document."""
    return [(one, document.document.title == title) for title, candidates in found for document, one in candidates]


def fitted(data: Rows, penalty: float = 1.0) -> np.ndarray[Any, Any]:
    """Intercept and weights, (5,), of a logistic regression in which both classes weigh the same."""
    x = np.array([[1.0, *astuple(one)] for one, _ in data])
    y = np.array([float(right) for _, right in data])
    weight = np.where(y > 0, 0.5 / max(1.0, y.sum()), 0.5 / max(1.0, (1 - y).sum())) * len(y)

    def loss(w: np.ndarray[Any, Any]) -> float:
        z = x @ w
        return float((weight * (np.logaddexp(0.0, z) - y * z)).sum() + penalty * (w[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), method="L-BFGS-B").x)


def measured(w: np.ndarray[Any, Any], about: Sequence[Any], calibration: Sequence[Any], check: Sequence[Any]) -> dict[str, float]:
    """Shares: questions that got in, that reached their own document, and other prompts that got in; at the threshold that calibration gives."""

    def best(candidates: Sequence[tuple[Found, Features]]) -> tuple[float | None, str]:
        scored = [(float(w @ np.array([1.0, *astuple(one)])), document.document.title) for document, one in candidates]
        return max(scored) if scored else (None, "")

    gate = calibrated([best(ones)[0] for _, ones in calibration])
    inside = [(score is not None and score > gate.threshold, title == wanted) for wanted, ones in about for score, title in [best(ones)]]
    others = [score is not None and score > gate.threshold for _, ones in check for score in [best(ones)[0]]]
    return {
        "threshold": gate.threshold,
        "kept": sum(into for into, _ in inside) / len(inside),
        "right": sum(into and right for into, right in inside) / len(inside),
        "let in": sum(others) / len(others),
    }


def main() -> None:
    """Learn, collect, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="smollm2-135m")
    args = parser.parse_args()
    from selfedit.config import packaged
    from selfedit.policy.opening import open_policy
    from selfedit.retention import own_answers
    from selfedit.system.process import tune
    from selfedit.tasks.knowledge.split import bundled_corpus

    tune()
    policy = open_policy(packaged("learn").model_copy(update={"model": args.model, "seed": args.seed}))
    policy.replay = tuple(own_answers(policy, policy.inner.settings.replay))
    tasks = policy.domain.tasks(policy, bundled_corpus("train")[: 2 * args.documents], "heldout", lambda done, of: None)
    known, unknown = tasks[: args.documents], tasks[args.documents :]
    edits = propose(policy, known, 0, policy.recipe.propose.model_copy(update={"candidates": 1}))
    with tempfile.TemporaryDirectory() as scratch, policy.adapters([policy.job(one.edit.examples, args.seed) for one in edits]) as trained:
        places = [Path(scratch) / "made" / str(n) for n in range(len(trained))]
        for one, at in zip(trained, places, strict=True):
            assert one.adapter is not None, one.failure
            policy.engine.export(one.adapter, at)
        report(policy, learned(policy, known, places, Path(scratch)), known, unknown)


def report(policy: Policy, library: Library, known: Sequence[Task], unknown: Sequence[Task]) -> None:
    """Fit on one half, measure on the other, then print the weights of both together."""
    about, strange = rows(policy, library, known, []), rows(policy, library, unknown, [])
    calibration, check = (rows(policy, library, [], [one.prompt for one in everyday(part)]) for part in ("gate", "check"))
    half = {task.title for task in known[::2]}
    first = [one for one in about if one[0] in half]
    negatives = [("", ones) for _, ones in strange[::2]]
    w = fitted(labelled([*first, *negatives, *calibration]))
    rest = [one for one in about if one[0] not in half]
    print(
        json.dumps({"held out": measured(w, rest, calibration, check), "unknown documents": measured(w, rest, calibration, strange[1::2])}, indent=1)
    )
    both = fitted(labelled([*about, *[("", ones) for _, ones in strange], *calibration]))
    print(json.dumps({"intercept": round(float(both[0]), 2), "weights": dict(zip(NAMES, both[1:].round(2).tolist(), strict=True))}))
    print(json.dumps({"all": measured(both, about, calibration, check), "unknown": measured(both, about, calibration, strange)}, indent=1))


if __name__ == "__main__":
    main()
