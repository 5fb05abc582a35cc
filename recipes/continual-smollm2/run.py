"""Documents learned one after another, in several ways, at equal tokens for each document.

python run.py passages.jsonl --out out --sequences 4 --length 8

Every stage writes a file and is not done again, so that a run goes on where it was stopped. What the ways are, and what is measured of them, is in
the README; the ways themselves are in ways.py and changed.py. Intervals are 95 %, over documents.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter
from stream import REPLAYED, Found, Scores, Stream
from ways import DEFAULT, WAYS

from selfedit.config import load_recipe
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.policy.proposing import propose
from selfedit.retention import own_answers
from selfedit.study.statistics import paired_difference
from selfedit.system.process import tune
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.types import Example, Passage, Task

EXAMPLES = TypeAdapter(tuple[Example, ...])

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


def collected(out: Path) -> list[dict[str, Any]]:
    """The figures of every way and length that has been measured, over the sequences that there are."""
    found: dict[int, dict[str, dict[str, Found]]] = {}
    for file in sorted(out.glob("*-*/*.json")):
        size, number = file.parent.name.split("-")
        found.setdefault(int(size), {}).setdefault(file.stem, {})[number] = Found(**json.loads(file.read_text(encoding="utf-8")))
    rows = []
    for length, ways in sorted(found.items()):
        base = ways.get("untouched", {})
        for name in [name for name in WAYS if name in ways]:
            shared = [number for number in ways[name] if number in base]
            rows += [figures(name, [ways[name][n] for n in shared], [base[n] for n in shared], length)] if shared else []
    return rows


def self_edits(policy: Policy, tasks: Sequence[Task], number: int, files: Sequence[Path]) -> list[tuple[Example, ...]]:
    """The self-edit of each document: read where the document had one in another sequence, else written and kept."""
    if not all(file.is_file() for file in files):
        for one, file in zip(propose(policy, tasks, number, policy.recipe.propose), files, strict=True):
            if not file.is_file():
                file.write_bytes(EXAMPLES.dump_json(one.edit.examples))
    return [EXAMPLES.validate_json(file.read_bytes()) for file in files]


def measure(policy: Policy, passages: Sequence[Passage], number: int, out: Path, ways: Sequence[str], whole: bool) -> None:
    """One sequence in each of the ways that it was not yet learned in."""
    folder, own = out / f"{len(passages)}-{number}", [out / "documents" / str(number * len(passages) + n) for n in range(len(passages))]
    for place in (folder, out / "documents"):
        place.mkdir(parents=True, exist_ok=True)
    tasks = policy.domain.tasks(policy, passages, "learn", lambda done, of: None)
    edits = self_edits(policy, tasks, number, [one.with_suffix(".json") for one in own])
    policy.worked = tuple(policy.domain.worked(policy.inner.settings.worked))
    replay = tuple(own_answers(policy, REPLAYED))
    stream = Stream(policy, tasks, edits, replay, folder, own, whole)
    for name in ways:
        file, begun = folder / f"{name}.json", time.monotonic()
        if file.is_file():
            continue
        found = replace(WAYS[name](stream), seconds=time.monotonic() - begun)
        file.with_suffix(".part").write_text(json.dumps(asdict(found)), encoding="utf-8")
        file.with_suffix(".part").rename(file)
        print(f"{folder.name} {name}: {_mean([[r for r, _ in d] for d in found.final]):.1%} right, {found.seconds:.0f} s", flush=True)


def main() -> None:
    """All stages that are not there yet, then results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parent / "recipe.toml")
    parser.add_argument("--first", type=int, default=0, help="the sequence to begin with, so that several processes can share the work")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--matrix", action="store_true", help="ask about every document after every edit, where a way can be asked")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()
    tune()
    policy = open_policy(load_recipe(args.recipe))
    passages = read_documents([args.passages], policy.recipe.documents, print)
    random.Random(0).shuffle(passages)
    for number in range(args.first, args.first + args.sequences):
        mine = [replace(p, id=f"{number}-{i}") for i, p in enumerate(passages[number * args.length : (number + 1) * args.length])]
        measure(policy, mine, number, args.out, args.ways, args.matrix)
    (args.out / "results.json").write_text(json.dumps({"ways": collected(args.out)}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
