"""How `selfedit eval --reliability` ends: which reward tells self-edits apart, and what cheaper rounds would lose."""

from __future__ import annotations

from pathlib import Path

from selfedit.cli.options import Output
from selfedit.cli.results import in_words
from selfedit.errors import LedgerError
from selfedit.ledger import Reader
from selfedit.report import write
from selfedit.report.reliability import FILE, TARGET, PrefilterTrust, RewardTrust, Trust, as_json, review, sentence, verdict
from selfedit.report.words import points, signed, signed_range
from selfedit.system.console import Show, share
from selfedit.types import Interval


def end_of_study(output: Output, folder: Path) -> int:
    """The tables, the report, and the same for programs in the run folder."""
    show = output.show
    with show.stage("Writing the report"):
        report = write(folder)
        with Reader(folder) as reader:
            found, cost = review(reader), reader.cost()
    if found is None:
        raise LedgerError(f"run {folder.name} has measured no self-edit yet")
    machine = folder / FILE
    machine.write_text(as_json(found) + "\n", encoding="utf-8")
    print_trust(show, found)
    for name, value in {"cost": in_words(cost), "report": str(report), "figures": str(machine)}.items():
        show.fact(name, value)
    if output.json:
        print(as_json(found))
    return 0


def print_trust(show: Show, found: Trust) -> None:
    """Rewards, prefilters, and the figures in a sentence."""
    k = found.seeds
    show.line()
    show.line(verdict(found), "bold")
    show.line(sentence(found))
    show.line()
    show.line(f"Reliability over inner-loop seeds ({found.tasks} tasks, {found.edits} self-edits, {k} seeds; ICC(3,1), and ICC(3,{k}) of their mean)")
    columns = ["reward", "mean", "within tasks", "95 % interval", f"mean of {k}", f"seeds for {TARGET}", "over all tasks"]
    show.table(columns, [_reliability(reward) for reward in found.rewards])
    show.line()
    show.line("Gain of a task's best self-edit over a random one: by the seed that chose it, by the others, and in correct answers by the others")
    show.table(["chosen by one seed of", "looks like", "is", "95 % interval", "correct answers"], [_best(reward) for reward in found.rewards])
    if found.prefilters:
        show.line()
        show.line(f"Prefilters beside the full reward ({found.reward}, mean of {k} seeds), where only the survivors are trained in full")
        columns = ["prefilter", "rank correlation", "survivors", "same winner", "by chance", "gain kept", "CPU saved"]
        show.table(columns, [row for prefilter in found.prefilters for row in _prefilter(prefilter)])
    written = found.cost.sample_cpu_s / found.cost.cpu_s if found.cost.cpu_s else 0.0
    show.line()
    tokens = f"{found.cost.train_tokens:,.0f} tokens trained on, {found.cost.sample_tokens:,.0f} written"
    show.line(f"One adapter, trained and asked {found.questions:.1f} questions: {found.cost.cpu_s:.1f} s of CPU, {tokens}.")
    show.line(f"Writing answers took {share(written)} of that; likelihood does not need them.")
    if found.unscored:
        show.line(f"{found.unscored} self-edits have no reward (their training failed, or there was nothing to measure) and are left out.")


def _reliability(reward: RewardTrust) -> list[str]:
    within, over_all = reward.within, reward.over_all
    return [
        reward.name,
        signed(reward.mean),
        mean(within),
        bounds(within),
        number(reward.curve[len(reward.best) - 1] if reward.curve else None),
        "–" if reward.wanted is None else str(reward.wanted),
        mean(over_all),
    ]


def _best(reward: RewardTrust) -> list[str]:
    if not reward.best or reward.best[0].true is None:
        return [reward.name, *["–"] * 4]
    first, true, answers = reward.best[0], reward.best[0].true, reward.in_answers[0] if reward.in_answers else None
    return [reward.name, signed(first.apparent.mean), signed(true.mean), signed_range(true), f"{points(answers.mean)} points" if answers else "–"]


def _prefilter(prefilter: PrefilterTrust) -> list[list[str]]:
    first = [prefilter.label, mean(prefilter.found.within)]
    rows: list[list[str]] = []
    for survivors, saved in zip(prefilter.found.survivors, prefilter.saved, strict=True):
        same = [share(survivors.same_winner.mean), share(survivors.chance), share(survivors.gain_kept), share(saved)]
        rows.append([*(["", ""] if rows else first), str(survivors.keep), *same])
    return rows


def number(value: float | None) -> str:
    """A correlation, a dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def mean(interval: Interval | None) -> str:
    """Its middle."""
    return number(interval.mean if interval else None)


def bounds(interval: Interval | None) -> str:
    """Its 95 % interval."""
    return "–" if interval is None or interval.low == -float("inf") else f"{number(interval.low)} to {number(interval.high)}"
