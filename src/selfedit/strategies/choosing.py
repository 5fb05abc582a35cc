"""Which strategy? The question is put to the policy: the names that may follow are scored, so that it can never answer with something else."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from selfedit.config import MIXED
from selfedit.strategies.base import find
from selfedit.types import Prompt, Turn

_CHAT = """Study material is to be made of the passage below. There are these ways to do it:
{ways}

Passage:
{title}
{context}

Which {wanted} helps most to remember what this passage says? Answer with {answer} alone."""

_BASE = """Each passage is turned into study material in the way that helps most to remember it. The ways are:
{ways}

Passage:
{title}
{context}

{cue}:"""


def choosing(choices: Sequence[str], title: str, context: str, chat: bool) -> list[Turn]:
    """Every choice as the turn in which the policy would have made it: a user's turn for chat models, a text to continue for base ones."""
    names = list(dict.fromkeys(part for choice in choices for part in parts(choice)))
    ways, many = "\n".join(f"- {name}: {find(name).means}" for name in names), max(len(parts(choice)) for choice in choices)
    if chat:
        wanted, answer = ("of them", "its name") if many == 1 else (f"{many} of them together", f"their names, joined by {MIXED},")
        return [Turn(Prompt(_CHAT.format(ways=ways, title=title, context=context, wanted=wanted, answer=answer)), choice) for choice in choices]
    cue = "Best way" if many == 1 else f"Best {many} ways, joined by {MIXED}"
    prompt = Prompt(_BASE.format(ways=ways, title=title, context=context, cue=cue), continued=True)
    return [Turn(prompt, f" {choice}") for choice in choices]


def parts(choice: str) -> tuple[str, ...]:
    """The strategies of a choice, each once."""
    return tuple(dict.fromkeys(choice.split(MIXED)))


def chances(logprobs: Sequence[float], temperature: float) -> list[float]:
    """softmax(logprobs / temperature): log-probabilities of C names, nats → how likely each is among them; at temperature 0 the likeliest."""
    highest = max(logprobs)
    if not temperature:
        return [float(i == logprobs.index(highest)) for i in range(len(logprobs))]
    weights = [math.exp((value - highest) / temperature) for value in logprobs]
    return [weight / sum(weights) for weight in weights]


def drawn(preferences: Sequence[tuple[Turn, float]], seed: int) -> Turn:
    """One of the turns by its chance; its prompt says what it was drawn from."""
    [turn] = random.Random(seed).choices([turn for turn, _ in preferences], [chance for _, chance in preferences])
    told = sorted(preferences, key=lambda preference: -preference[1])
    return replace(turn, prompt=replace(turn.prompt, given=", ".join(f"{one.completion.strip()} {chance:.1%}" for one, chance in told)))
