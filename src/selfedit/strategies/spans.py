"""Short answers that a passage holds: names, numbers, and phrases between function words (RAKE: Rose et al. 2010).

Function words are known for English. Of another language (a passage with hardly any of the commonest English words) names, numbers and long words are
taken. Names are known by their capitals, in scripts that have them; in scripts without spaces between words, only numbers, quotations and foreign
names are found. Where nothing is found, nothing can be asked: the result is empty.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import regex as re

from selfedit.text import UNSPACED, contains, normalise, sentences
from selfedit.text.stopwords import STOPWORDS

_PIECE = re.compile(r"[\w°$€£%]+(?:['’.,:/-][\w°%]+)*|[^\w\s]")
_LEADS = frozenset("a an the of with from by in at named called on only for into over his her its their to and".split())  # noqa: SIM905
_LONGEST = 3
_ENGLISH = frozenset("the of and by with from for that which were been their his its this are it at to".split())  # noqa: SIM905
_SHARE = 0.05
"""Of 450 English passages the one with fewest has 6 % of these words, most have 25 %; other languages have hardly any of them."""

_FREE = rf"[\w--[{UNSPACED}]]"
_PHRASES = (
    (4.0, re.compile(rf"(?V1)(?<!{_FREE})\p{{Lu}}\w*(?:[-.'’]\w+)*(?: \p{{Lu}}\w*(?:[-.'’]\w+)*){{0,2}}(?!{_FREE})")),
    (4.0, re.compile(rf"(?V1)(?<!{_FREE}|[.,:/-])[$€£]?\d+(?:[.,:/-]\d+)*(?: ?%)?(?!{_FREE})")),
    (4.0, re.compile(r"[「『《“]([^「」『』《》“”]{2,20})[」』》”]|(?<!\p{Katakana})[\p{Katakana}ー]{3,}(?:・[\p{Katakana}ー]+)*")),
    (1.0, re.compile(rf"(?V1)(?<!\w)(?:\p{{Ll}}{{7,}}|[[\p{{Lo}}\p{{M}}\u200c\u200d]--[{UNSPACED}]]{{5,}})(?!\w)")),
)


@dataclass(frozen=True, slots=True)
class Span:
    """An answer and the piece of text it stands in."""

    answer: str
    sentence: str


def spans(title: str, context: str, wanted: int, seed: int) -> tuple[Span, ...]:
    """At most `wanted` spans in the order of the text: each sentence before seconds of one, telling ones more often, none twice or in the title."""
    rng = random.Random(seed)
    of = _between_function_words if _english(context) else _telling
    found = [(span, weight) for sentence in pieces(context) for span, weight in of(sentence) if not contains(title, span.answer)]
    chosen: dict[str, Span] = {}
    used: dict[str, int] = {}
    while len(chosen) < wanted and (left := [(s, w) for s, w in found if normalise(s.answer) not in chosen]):
        fewest = min(used.get(s.sentence, 0) for s, _ in left)
        left = [(s, w) for s, w in left if used.get(s.sentence, 0) == fewest]
        span = rng.choices([s for s, _ in left], [w for _, w in left])[0]
        chosen[normalise(span.answer)] = span
        used[span.sentence] = fewest + 1
    return tuple(s for s, _ in found if chosen.get(normalise(s.answer)) is s)


def pieces(context: str) -> list[str]:
    """Sentences of prose, lines of everything else; at least three words, or as many characters in a script without spaces."""
    return [s for line in context.splitlines() for s in sentences(line) if len(s.split()) > 2 or len(_UNSPACED.findall(s)) > 5]


_UNSPACED = re.compile(f"[{UNSPACED}]")


def _english(context: str) -> bool:
    """Whether the phrases of a text stand between English function words."""
    said = re.findall(r"\p{L}[\w'’]*", context.lower())
    return sum(word in _ENGLISH for word in said) >= _SHARE * len(said)


def _between_function_words(sentence: str) -> Iterator[tuple[Span, float]]:
    """Phrases of a sentence between function words and punctuation, with how telling they are."""
    run: list[str] = []
    before = ""
    for piece in [*_PIECE.findall(sentence), "."]:
        if re.match(r"[\w$€£]", piece) and piece.lower() not in STOPWORDS:
            run.append(piece)
            continue
        if 0 < len(run) <= _LONGEST and sum(map(len, run)) > 1:
            answer = " ".join(run)
            if answer in sentence and not sentence.startswith(answer):
                telling = any(c.isdigit() for c in answer) or answer[0].isupper()
                yield Span(answer, sentence), 4.0 if telling else 2.0 if before in _LEADS else 0.2
        run, before = [], piece.lower()


def _telling(sentence: str) -> Iterator[tuple[Span, float]]:
    """Names, numbers, quotations and long words of a sentence in any language, in the order of the text, with how telling they are."""
    found: list[tuple[int, int, float]] = []
    for weight, pattern in _PHRASES:
        for match in pattern.finditer(sentence):
            start, end = match.span(1) if match.re.groups and match[1] else match.span()
            if start > 0 and all(end <= begin or start >= stop for begin, stop, _ in found):
                found.append((start, end, weight))
    for start, end, weight in sorted(found):
        yield Span(sentence[start:end], sentence), weight
