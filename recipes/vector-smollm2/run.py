"""Edit vectors for a skill, short right answers with the passage in view: learned on some passages, measured on others, under several seeds.

python run.py squad_train.jsonl squad_dev.jsonl --out out --seeds 2

Files hold title, context and questions a line. Each seed is a run of `selfedit train` that resumes where it was stopped, with a report of its own;
results.json has them together: F1, with 95 % intervals over questions, each the mean over seeds, and paired differences.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfedit import api
from selfedit.config import load_recipe
from selfedit.disk import write_atomically
from selfedit.ledger.reader import runs
from selfedit.report.comparison import Comparison, compare
from selfedit.system.console import Show
from selfedit.types import Interval, Result

RECIPE = Path(__file__).with_name("recipe.toml")
NAMES = {"base": "untouched"}
"""What rows are called here, where that is another name."""


def chosen(passages: Path, number: int, out: Path) -> Path:
    """So many passages with at least two questions, from all over the file, written once."""
    if not out.is_file():
        lines = [line for line in passages.read_text(encoding="utf-8").splitlines() if len(json.loads(line)["questions"]) > 1]
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, "\n".join(random.Random(0).sample(lines, min(number, len(lines)))) + "\n")
    return out


def learned(seed: int, train: Path, held_out: Path, folder: Path, settings: dict[str, Any]) -> api.Run:
    """The run of a seed: finished, taken up again, or begun."""
    begun = [one for one in runs(folder) if one.status != "damaged"] if folder.is_dir() else []
    if not begun:
        recipe = load_recipe(RECIPE)
        return api.train(recipe, folder=folder, watch=Show(), seed=seed, docs=(train,), eval_docs=(held_out,), **settings)
    return api.train(resume=begun[0].id, folder=folder, watch=Show())


def together(found: Sequence[api.Run]) -> Comparison:
    """The results of all runs, each under its own seed. The rows that leave nothing to chance are the same in all."""
    results: list[Result] = []
    for seed, run in enumerate(found):
        with run.reader() as reader:
            results += [replace(one, seed=seed) for one in reader.results()]
            tasks, notes = reader.tasks(), reader.notes()
    return compare(tasks, results, notes)


def as_results(found: Comparison) -> dict[str, list[dict[str, Any]]]:
    """F1 as `mean`, and right answers, exact ones and the log-likelihood of the right answer beside it. Differences are of every row over the
    untouched model, and of the contextual edit over all."""
    rows = []
    for row in found.rows:
        more = {"right": bounds(row.accuracy), "exact": bounds(row.exact), "log_likelihood": bounds(row.gold_logprob) if row.gold_logprob else None}
        rows.append({"name": NAMES.get(row.name, row.name), **bounds(row.f1), "n": row.f1.n, "seeds": row.seeds, **more})
    named = [(NAMES.get(d.of.name, d.of.name), NAMES.get(d.over.name, d.over.name), d.gain) for d in found.differences]
    differences = [{"of": of, "over": over, **bounds(gain.f1), "right": bounds(gain.correct)} for of, over, gain in named]
    return {"rows": rows, "differences": differences}


def bounds(interval: Interval) -> dict[str, float]:
    """Mean, low and high."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def main(argv: Sequence[str] | None = None) -> None:
    """Every seed that is not finished yet, then results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="passages to learn from")
    parser.add_argument("held_out", type=Path, help="other passages, to measure on")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--passages", type=int, nargs=2, default=(48, 40), metavar=("TRAIN", "HELD_OUT"))
    parser.add_argument("--model", default="", help="another than the recipe's")
    parser.add_argument("--rounds", type=int, default=0, help="other than the recipe's")
    parser.add_argument("--rows", nargs="+", default=[], help="fewer rows than the recipe's: `es` and `mean_edit` learn beside the policy")
    args = parser.parse_args(argv)
    train, held_out = (
        chosen(file, n, args.out / f"{name}.jsonl")
        for file, n, name in zip((args.train, args.held_out), args.passages, ("train", "dev"), strict=True)
    )
    inner = {"type": "vector", "rows": args.rows} if args.rows else None
    settings = {key: value for key, value in (("model", args.model), ("rounds", args.rounds), ("inner", inner)) if value}
    found = []
    for seed in range(args.seeds):
        found.append(learned(seed, train, held_out, args.out / f"seed-{seed}", settings))
        found[-1].report()
        results = as_results(together(found))
        write_atomically(args.out / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
        for row in results["rows"]:
            print(
                f"{row['name']:<18} F1 {100 * row['mean']:5.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f}), seeds {row['seeds']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
