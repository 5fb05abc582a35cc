"""Everyday prompts, written for this project: what people ask a chat model when they ask about no document of theirs.

Three parts that share no prompt. The model's own answers to `replay` are trained on beside self-edits, against forgetting (on-policy replay, arXiv
2605.29495). By `gate` and `replay` a library calibrates its gate. `check` is for measuring alone.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from selfedit.retention import kept
from selfedit.types import Example, Progress, SampleRequest, Sampling

if TYPE_CHECKING:
    from selfedit.policy import Policy

Part = Literal["replay", "gate", "check"]
LONGEST = 48
"""Tokens of a replayed answer at most: how an answer begins is what recitation spoils."""


@dataclass(frozen=True, slots=True)
class Everyday:
    """A prompt; `kind` is question, advice, explain, write, list, chat, code, maths, transform or plan."""

    id: str
    part: Part
    kind: str
    prompt: str


@cache
def everyday(part: Part) -> tuple[Everyday, ...]:
    """The prompts of a part: 400 of `replay`, 1,066 of `gate`, 120 of `check`. Kinds are spread evenly: the first n have about the same mix."""
    text = resources.files("selfedit").joinpath("data/everyday.jsonl").read_text(encoding="utf-8")
    found = [Everyday(**json.loads(line)) for line in text.splitlines()]
    return tuple(one for one in found if one.part == part)


def calibration() -> list[str]:
    """The prompts that a library's gate is calibrated on. It asks no adapter, so those that adapters were trained on are as good as others."""
    return [one.prompt for part in ("gate", "replay") for one in everyday(part)]


def own_answers(policy: Policy, n: int, cache_file: Path | None = None, progress: Progress | None = None) -> list[Example]:
    """`n` prompts of `replay`, chosen by the recipe's seed, each with an answer that the policy's weights drew as they are now (temperature 0.7).

    Answers are kept in `cache_file`, by prompt and settings, and found there the next time. More than there are: all of them.
    """
    chosen = random.Random(policy.seed("replay")).sample(everyday("replay"), min(n, len(everyday("replay"))))
    known = kept.read(cache_file)
    keys = {one.prompt: _key(policy, one) for one in chosen}
    missing = [one for one in chosen if keys[one.prompt] not in known]
    drawn = policy.sample([SampleRequest(policy.render.ask(one.prompt), _sampling(policy, one)) for one in missing], progress)
    known |= {keys[one.prompt]: completion.text.strip() for one, completion in zip(missing, drawn, strict=True)}
    if missing and cache_file is not None:
        kept.write(cache_file, known)
    return [Example(known[keys[one.prompt]], prompt=one.prompt) for one in chosen if known[keys[one.prompt]]]


def _sampling(policy: Policy, one: Everyday) -> Sampling:
    return Sampling(LONGEST, temperature=0.7, top_p=0.95, stop=policy.render.answer_stop, seed=int(one.id.removeprefix("e")))


def _key(policy: Policy, one: Everyday) -> str:
    """What an answer depends on beside the model: how it was asked and drawn."""
    asked = (policy.render.ask(one.prompt), _sampling(policy, one))
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:24]
