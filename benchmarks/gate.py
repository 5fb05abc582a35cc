"""Fits the weights of the gate, and says how well it tells questions about learned documents from others: `python -m benchmarks.gate`.

The documents are those of the bundled corpus' training part and, with `--passages`, others with questions. Their questions ought to get in, with
their own document; everyday prompts of the parts `gate` and `replay`, and questions about documents that were not learned, ought not. The weights
are of a logistic regression with an L2 penalty. It is fitted on each half of the documents and measured on the other, and on the everyday prompts
of the part `check`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import minimize

from selfedit.config import packaged
from selfedit.engine.base import Engine
from selfedit.library import Document, Entry, Found, Library
from selfedit.library.answering import ROOM
from selfedit.library.gate import Features, calibrated
from selfedit.library.routing import features
from selfedit.policy.opening import open_policy
from selfedit.policy.proposing import propose
from selfedit.retention import calibration, everyday
from selfedit.store.artifacts import digest_of
from selfedit.system.process import tune
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Proposal, Task

NAMES = [field.name for field in fields(Features)]
Row = tuple[str, list[tuple[Found, Features]]]
"""The text that a question is about, empty for everyday prompts, with its candidates."""


def known_to(tasks: Sequence[Task], edits: Sequence[Proposal], root: Path) -> Library:
    """A library of these documents. Nothing is trained: no adapter is asked who answers."""
    library, entries = Library(root / "library"), []
    for number, (task, one) in enumerate(zip(tasks, edits, strict=True)):
        at = root / str(number)
        at.mkdir()
        (at / "adapter_config.json").write_text(json.dumps(number), encoding="utf-8")
        entries.append(Entry(digest_of(at), at, (Document.of(task, one.edit.examples),), "model", {}, "run"))
    library.add(entries, note="benchmark")
    return library


def rows(engine: Engine, library: Library, tasks: Sequence[Task], prompts: Sequence[str] = ()) -> list[Row]:
    """The questions of these documents, and `prompts`, which are about none, with their candidates; all of them are read."""
    asked = [(task.context, q.question) for task in tasks for q in (*task.reward_questions, *task.report_questions)] + [("", one) for one in prompts]
    found: list[Row] = []
    for i in range(0, len(asked), ROOM):
        some = asked[i : i + ROOM]
        each = features(engine, library, [question for _, question in some], {}, worth=lambda _: True)
        found += [(text, ones) for (text, _), ones in zip(some, each, strict=True)]
    return found


def labelled(found: Sequence[Row]) -> list[tuple[Features, bool]]:
    """Every candidate, and whether the question is about its document."""
    return [(one, document.document.context == text) for text, candidates in found for document, one in candidates]


def fitted(data: Sequence[tuple[Features, bool]], penalty: float = 1.0) -> np.ndarray[Any, Any]:
    """Intercept and weights, (4,), of a logistic regression in which both classes weigh the same."""
    x = np.array([[1.0, *astuple(one)] for one, _ in data])
    y = np.array([float(right) for _, right in data])
    weight = np.where(y > 0, 0.5 / max(1.0, y.sum()), 0.5 / max(1.0, (1 - y).sum())) * len(y)

    def loss(w: np.ndarray[Any, Any]) -> float:
        z = x @ w
        return float((weight * (np.logaddexp(0.0, z) - y * z)).sum() + penalty * (w[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), method="L-BFGS-B").x)


def measured(w: np.ndarray[Any, Any], calibration: Sequence[Row], about: Sequence[Row], others: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    """Shares of questions that got in, that reached their own document, and of `others` that got in, at the threshold that calibration gives."""

    def best(candidates: Sequence[tuple[Found, Features]]) -> tuple[float | None, str]:
        scored = [(float(w @ np.array([1.0, *astuple(one)])), document.document.context) for document, one in candidates]
        return max(scored) if scored else (None, "")

    gate = calibrated([best(ones)[0] for _, ones in calibration])

    def share(some: Sequence[Row], own: bool = False) -> float:
        inside = [
            score is not None and score > gate.threshold and (text == wanted or not own) for wanted, ones in some for score, text in [best(ones)]
        ]
        return round(fmean(inside), 3)

    return {"threshold": round(gate.threshold, 2), "kept": share(about), "right": share(about, own=True)} | {k: share(v) for k, v in others.items()}


def main() -> None:
    """Collect, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=8, help="of the bundled corpus, and half as many that were not learned")
    parser.add_argument("--passages", type=Path, help="more documents, with their questions")
    parser.add_argument("--known", type=int, default=32, help="of --passages; as many of other titles are not learned")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="smollm2-135m")
    args = parser.parse_args()
    tune()
    policy = open_policy(packaged("learn").model_copy(update={"model": args.model, "seed": args.seed}))
    corpus = bundled_corpus("train")
    known, unknown = list(corpus[: args.documents]), list(corpus[args.documents : args.documents * 3 // 2])
    if args.passages:
        passages = read_documents([args.passages], policy.recipe.documents, print)
        random.Random(args.seed).shuffle(passages)
        titles = {one.title for one in passages[: args.known]}
        known += passages[: args.known]
        unknown += [one for one in passages if one.title not in titles][: args.known]
    learned, strange = (policy.domain.tasks(policy, some, "heldout", lambda done, of: None) for some in (known, unknown))
    edits = propose(policy, learned, 0, policy.recipe.propose.model_copy(update={"candidates": 1}))
    with tempfile.TemporaryDirectory() as scratch:
        report(policy.engine, known_to(learned, edits, Path(scratch)), learned, strange)


def report(engine: Engine, library: Library, learned: Sequence[Task], strange: Sequence[Task]) -> None:
    """Fit on each half and measure on the other, then print the weights of both together."""
    gate, check = (rows(engine, library, [], prompts) for prompts in (calibration(), [one.prompt for one in everyday("check")]))
    about, unknown = ([rows(engine, library, some[half::2]) for half in (0, 1)] for some in (learned, strange))
    for half in (0, 1):
        w = fitted(labelled([*about[half], *unknown[half], *gate]))
        print(json.dumps({"half": measured(w, gate, about[1 - half], {"everyday": check, "unknown documents": unknown[1 - half]})}))
    w = fitted(labelled([*about[0], *about[1], *unknown[0], *unknown[1], *gate]))
    print(json.dumps({"intercept": round(float(w[0]), 2), "weights": dict(zip(NAMES, w[1:].round(2).tolist(), strict=True))}))
    both = {"everyday": check, "unknown documents": [*unknown[0], *unknown[1]]}
    print(json.dumps({"all, fitted on them": measured(w, gate, [*about[0], *about[1]], both)}))


if __name__ == "__main__":
    main()
