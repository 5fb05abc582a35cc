"""The self-edits of a run as a data set for other trainers: rows of JSON Lines in the forms that TRL and most others read.

What was asked as a user's turn becomes messages; what a model continued as a text stays plain text, because a chat template would change it. A file
has one of the two: trainers decide by its first row. The turn in which a policy picked a strategy is no writing, and has rows of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from selfedit.algorithms.dpo import pairs as preference_pairs
from selfedit.disk import write_atomically
from selfedit.errors import ConfigError, DataError
from selfedit.ledger import Reader
from selfedit.text import cue
from selfedit.types import Candidate, Proposal, Selected, Turn

Form = Literal["edits", "picks", "pairs", "examples"]
Kind = Literal["messages", "text"]
Row = dict[str, Any]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Written:
    """A self-edit of a run. `reward` None: it was not scored. `kept`: the policy, or the final adapter, learned from it and not against it."""

    proposal: Proposal
    reward: float | None
    kept: bool

    @property
    def facts(self) -> Row:
        """What every row says of its self-edit."""
        p = self.proposal
        return {"task": p.task_id, "round": p.round, "index": p.index, "strategy": p.edit.strategy, "reward": self.reward, "kept": self.kept}


def write(
    folder: Path, out: Path, form: Form, kept: bool = False, min_reward: float | None = None, strategies: Sequence[str] = (), only: Kind | None = None
) -> int:
    """Write the rows of a run's self-edits, whole or not at all, and return how many.

    `kept`, `min_reward` and `strategies` leave other self-edits out, `only` other rows. Raises DataError where no row is left or `out` cannot be
    written, ConfigError where the rows would not be of one form.
    """
    written, candidates = read(folder)
    chosen = [
        w
        for w in written
        if (w.kept or not kept)
        and (min_reward is None or (w.reward is not None and w.reward >= min_reward))
        and (not strategies or w.proposal.edit.strategy in strategies)
    ]
    if unknown := set(strategies) - {w.proposal.edit.strategy for w in written}:
        there = ", ".join(dict.fromkeys(w.proposal.edit.strategy for w in written)) or "none"
        raise ConfigError(f"run {folder.name} has no self-edit of strategy '{sorted(unknown)[0]}'; there are: {there}")
    found = {"edits": edits, "picks": picks, "pairs": lambda chosen: pairs(chosen, candidates), "examples": examples}[form](chosen)
    rows = [row for row in found if only in (None, _kind(row))]
    if not rows:
        limited = len(chosen) < len(written) or len(rows) < len(found)
        raise DataError(f"run {folder.name} has no {form} to write{' with these limits' if limited else ''}")
    _of_one_kind(rows)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}; choose another place") from error
    return len(rows)


def read(folder: Path) -> tuple[list[Written], list[Candidate]]:
    """The self-edits that a run wrote to learn from, with those of them that were trained; none that only measure, on held-out documents."""
    with Reader(folder) as reader, reader.snapshot():
        proposals = [one for one in _learning(reader, Proposal) if not one.edit.vector]  # numbers are nothing to imitate
        candidates, kept = [one for one in _learning(reader, Candidate) if not one.proposal.edit.vector], _learning(reader, Selected)
    rewards = {c.proposal.key: c.reward.value for c in candidates}
    learned = {k.key for k in kept if k.advantage > 0}
    return [Written(p, rewards.get(p.key), p.key in learned) for p in proposals], candidates


def _learning(reader: Reader, kind: type[R]) -> list[R]:
    names = [step.name for step in reader.steps() if step.kind == kind.__name__ and not step.name.startswith("evaluate/")]
    return [record for name in names for record in reader.step(name, kind)]


# ------------------------------------------------------------ forms


def edits(chosen: Sequence[Written]) -> list[Row]:
    """A row for each turn that was written: `messages`, or `prompt` and `completion` of a text that was continued. An empty one teaches nothing."""
    return [_row(w, turn) for w in chosen for turn in w.proposal.edit.writing if turn.completion.strip()]


def picks(chosen: Sequence[Written]) -> list[Row]:
    """A row for each decision of the policy on a self-edit, the strategy it picked and the directives it set: what it was asked, and its answer."""
    return [_row(w, turn) for w in chosen for turn in w.proposal.edit.decisions]


def pairs(chosen: Sequence[Written], candidates: Sequence[Candidate]) -> list[Row]:
    """The best and the worst self-edit of each task, round and strategy, where their rewards differ: `prompt`, `chosen` and `rejected`.

    Every `chosen` is one of these self-edits; an empty one is no side of a pair. Raises ConfigError for a strategy that does not ask once: its
    self-edits have no prompt in common.
    """
    by_key = {w.proposal.key: w for w in chosen}
    names = list(dict.fromkeys(w.proposal.edit.strategy for w in chosen))
    many = {w.proposal.edit.strategy for w in chosen if not _at_once(w.proposal.edit.writing)}
    if many:
        rest = ", ".join(name for name in names if name not in many)
        why = f"strategy '{min(many, key=names.index)}' does not ask once for the whole passage, so its self-edits cannot be paired"
        raise ConfigError(f"{why}; those of {rest} can: name them with --strategies" if rest else why)
    found = []
    for strategy in names:
        own = {c.proposal.key: c for c in candidates if c.proposal.edit.strategy == strategy}
        sides = [own[k.key] for k in preference_pairs(list(own.values()))]
        for best, worst in zip(sides[::2], sides[1::2], strict=True):
            if w := by_key.get(best.proposal.key):
                [good], [bad] = best.proposal.edit.writing, worst.proposal.edit.writing
                if not (good.completion.strip() and bad.completion.strip()):
                    continue
                plain = good.prompt.continued
                row = {
                    "prompt": good.prompt.text if plain else _asked(good),
                    "chosen": good.completion if plain else _said(good),
                    "rejected": bad.completion if plain else _said(bad),
                }
                found.append({**row, **w.facts, "rejected_index": worst.proposal.index, "rejected_reward": worst.reward.value})
    return found


def _at_once(turns: Sequence[Turn]) -> bool:
    """Whether a self-edit was asked for once, for the whole passage."""
    return len(turns) == 1 and not turns[0].prompt.given


def examples(chosen: Sequence[Written]) -> list[Row]:
    """What adapters were trained on, as plain text: `prompt`, empty where a text is learned whole, and `completion`."""
    found = []
    for w in chosen:
        for example in w.proposal.edit.examples:
            asked = (
                {"prompt": cue(example.prompt), "completion": f" {example.text}"} if example.prompt else {"prompt": "", "completion": example.text}
            )
            found.append({**asked, **w.facts})
    return found


def _of_one_kind(rows: Iterable[Row]) -> None:
    kinds: Mapping[Kind, dict[str, None]] = {"text": {}, "messages": {}}
    for row in rows:
        kinds[_kind(row)][row["strategy"]] = None
    if all(kinds.values()):
        continued, answered = (", ".join(names) for names in kinds.values())
        both = f"there are texts that were continued ({continued}) and answers to a user's turn ({answered})"
        raise ConfigError(f"{both}: one file holds one form, choose it with --only text or --only messages")


def _kind(row: Row) -> Kind:
    return "text" if isinstance(row.get("prompt"), str) else "messages"


def _row(w: Written, turn: Turn) -> Row:
    plain = {"prompt": turn.prompt.text, "completion": turn.completion}
    return {**(plain if turn.prompt.continued else {"messages": [*_asked(turn), *_said(turn)]}), **w.facts, "finish_reason": turn.finish_reason}


def _asked(turn: Turn) -> list[Row]:
    return [{"role": "user", "content": turn.prompt.text}]


def _said(turn: Turn) -> list[Row]:
    return [{"role": "assistant", "content": turn.completion}]
