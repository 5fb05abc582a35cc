"""Short answers that a passage holds: names, numbers, and phrases between function words (RAKE: Rose et al. 2010)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from selfedit.text import contains, normalise, sentences

_FUNCTION = frozenset(
    """
    a about above across after again against all almost along already also although always am among an and another any anyone anything are
    around as at away back be became because become been before behind being below beneath beside besides between beyond both but by called came
    can cannot could did do does doing done down during each either else enough even ever every everyone everything few for from gave get gets
    give go goes got had has have having he her here hers herself him himself his how however i if in inside instead into is it its itself just
    kept knew know known last later left less let like made make makes many may me mine more most much must my named near never next no nobody
    none nor not nothing now of off often on once one only onto or other others our out outside over own per perhaps quite rather said same say
    says she should since so some somebody someone something still such than that the their theirs them themselves then there these they thing
    things this those though through till to today together too took toward towards under until up upon us used very was we went were what
    whatever when where whether which while who whom whose why will with within without would yes yet you your
    """.split()  # noqa: SIM905
)
_PIECE = re.compile(r"[\w°$€£%]+(?:['’.,:/-][\w°%]+)*|[^\w\s]")
_LEADS = frozenset("a an the of with from by in at named called on only for into over his her its their to and".split())  # noqa: SIM905
_LONGEST = 3


@dataclass(frozen=True, slots=True)
class Span:
    """An answer and the piece of text it stands in."""

    answer: str
    sentence: str


def spans(title: str, context: str, wanted: int, seed: int) -> tuple[Span, ...]:
    """At most `wanted` spans in the order of the text: each sentence before seconds of one, telling ones more often, none twice or in the title."""
    rng = random.Random(seed)
    found = [(span, weight) for sentence in pieces(context) for span, weight in _of(sentence) if not contains(title, span.answer)]
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
    """Sentences of prose, lines of everything else."""
    return [s for line in context.splitlines() for s in sentences(line) if len(s.split()) > 2]


def _of(sentence: str) -> list[tuple[Span, float]]:
    """Phrases of a sentence between function words and punctuation, with how telling they are."""
    found: list[tuple[Span, float]] = []
    run: list[str] = []
    before = ""
    for piece in [*_PIECE.findall(sentence), "."]:
        if re.match(r"[\w$€£]", piece) and piece.lower() not in _FUNCTION:
            run.append(piece)
            continue
        if 0 < len(run) <= _LONGEST and sum(map(len, run)) > 1:
            answer = " ".join(run)
            if answer in sentence and not sentence.startswith(answer):
                telling = any(c.isdigit() for c in answer) or answer[0].isupper()
                found.append((Span(answer, sentence), 4.0 if telling else 2.0 if before in _LEADS else 0.2))
        run, before = [], piece.lower()
    return found
