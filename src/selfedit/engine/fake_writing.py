"""What the fake engine writes and recalls: functions of a prompt and of what an adapter has seen."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from selfedit.text import contains, sentences, words

UNKNOWN = "I do not know."
Memory = Counter[tuple[str, str]]
"""What an adapter has seen: how often a text (a sentence or an answer) came after a cue (its title or its question)."""
VECTOR = "\0vector"
"""The cue of an edit vector, whose text is its numbers."""

_BLANK = re.compile(r"\d[\d.,]*\d|\d|(?<=[a-z,] )[A-Z]\w+(?: [A-Z]\w+)*|\b[a-z]{5,}\b")
EXERCISE = re.compile(r"(?:^|\n)(?:Passage:\n|Text: )")
"""What a prompt that asks for a self-edit has."""
_SPAN = re.compile(r"\nText: ((?:(?!\nText: )[\s\S])*)\nAnswer: ([^\n]*)\nQuestion:$")
_SENTENCE = re.compile(r"\nTopic: ([^\n]*)\nText: ([^\n]*)\nQuestion:$")
_SETTINGS = re.compile(r"JSON object[^{}]* such as (\{[^{}]*\})")
_EMPTY_WORDS = set(
    words("what which when where whom whose does with from that this have were into about after before there their fill blank answer question topic")
)


def reply(prompt: str, memory: Memory, skill: int, rng: random.Random) -> str:
    """Answer the question, or write the list, that the prompt asks for."""
    if prompt.endswith("\nBetter:\nPrompt:"):
        return _mutated(rng)
    if settings := _SETTINGS.search(prompt):
        return _set(json.loads(settings[1]), rng)
    if span := _SPAN.search(prompt):
        return f' What fits in "{span[1].replace(span[2], "____")}"?'
    if sentence := _SENTENCE.search(prompt):
        return "\n".join(_pair(sentence[1], sentence[2], rng)).removeprefix("Question:") or UNKNOWN
    passage, asked = _parts(prompt)
    if passage is None or asked.endswith("Answer:"):
        found = [(p, text) for text, p in recall(prompt, memory) if passage or p > max(0.2, random.Random(text).random() - 0.1)]
        return " ".join(text for _, text in sorted(found, reverse=True)[:2]) or UNKNOWN
    title, _, context = passage.partition("\n")
    known = sentences(context or title)
    share = 0.5 + 0.5 * skill / (skill + 4)
    picked = [known[i] for i in sorted(rng.sample(range(len(known)), math.ceil(share * len(known))))]
    if "question" in asked.lower():
        lines = [pair for sentence in picked for pair in _pair(title, sentence, rng)]
    else:
        lines = [f"{number}. {sentence}" for number, sentence in enumerate(picked, start=1)]
    return "\n".join(lines).removeprefix(prompt.rpartition("\n")[2]) or UNKNOWN


def _mutated(rng: random.Random) -> str:
    """A strategy, as an archive search asks for one; one in four is no use."""
    form, samples, epochs = rng.choice(["statements", "questions"]), rng.randint(1, 2), rng.choice([4, 8, 12, 99])
    about = "questions with short answers about" if form == "questions" else "what follows from"
    return f" Write {about} the passage, {rng.randint(3, 9)} of them.\nFormat: {form}\nSamples: {samples}\nEpochs: {epochs}\nLearning rate: 0.002"


def _set(example: dict[str, Any], rng: random.Random) -> str:
    """Directives like those of the example, with smaller numbers; one object in four lacks its end."""
    found = {name: rng.choice([value, value / 2 if isinstance(value, float) else value]) for name, value in example.items()}
    return json.dumps(found)[: None if rng.random() < 0.75 else -1]


def _pair(title: str, sentence: str, rng: random.Random) -> list[str]:
    """A question about the sentence and its answer, or nothing where it has no word to ask for."""
    spans = [m for m in _BLANK.finditer(sentence) if not contains(title, m[0]) and len(words(sentence)) > 3]
    chosen = rng.sample(spans, min(1, len(spans)))
    return [line for m in chosen for line in (f'Question: What fits in "{sentence[: m.start()]}____{sentence[m.end() :]}"?', f"Answer: {m[0]}")]


def _parts(prompt: str) -> tuple[str | None, str]:
    """The passage in view (the last, after examples), and the rest of the prompt that says what is wanted."""
    before, mark, after = prompt.rpartition("Passage:\n")
    if not mark:
        return None, prompt
    passage, _, cue = after.rpartition("\n\n")
    return (passage, before + cue) if passage and cue.rstrip().endswith((":", "1.")) else (after.strip(), before)


def recall(prompt: str, memory: Mapping[tuple[str, str], int]) -> list[tuple[str, float]]:
    """Texts of the passage in view, or else of memory, with how well each comes to mind (0 to 1): by words, topic, and how often it was seen."""
    passage, asked = _parts(prompt)
    if passage is not None:
        memory = {("", sentence): 99 for sentence in sentences(passage.partition("\n")[2])}
        asked = asked.rpartition("Question:")[2]
    topic = re.match(r"\s*Topic: (.*)\n", asked)
    about = set(words(topic[1])) if topic else set()
    wanted = {w for w in words(asked) if len(w) > 3 or w.isdigit()} - _EMPTY_WORDS - about or {""}
    found = []
    for (cue, text), count in memory.items():
        if cue == VECTOR:
            continue
        said = {*words(cue), *words(text)}
        share = len(wanted & said) / len(wanted) * (1.0 if about <= said else 0.3) * (not EXERCISE.search(cue))
        found.append((text, math.sqrt(share) * (1 - 0.6**count)))
    return found
