"""Questions without a writer: a sentence of the text with one of its names, numbers or dates blanked (cloze, Taylor 1953)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import regex as re

from selfedit.text import ENDS, UNSPACED, contains, gold_token_recall, normalise, sentences, words
from selfedit.types import Passage, Question

BLANK = "____"

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_OTHER_MONTH = r"\d{1,2}(?:\. \p{Lu}\p{Ll}{2,8}\.?| \p{Cyrillic}{3,8}) \d{3,4}"
_DATE = rf"{_DAY} (?:of )?{_MONTH}(?:,? \d{{3,4}})?|{_MONTH} {_DAY}(?:, \d{{3,4}})?|{_MONTH} \d{{4}}|\d{{4}}-\d\d-\d\d|{_OTHER_MONTH}"
_AMOUNT = r"[$€£]?\d+(?:[.,:]\d+)*(?: ?%|[a-zA-Z°]{1,3}\b)?(?: (?:thousand|million|billion|percent|per cent))?"
_CAPITAL = r"(?:\p{Lu}['’])?\p{Lu}\w*(?:[-.]\w+)*"
_NAME = rf"{_CAPITAL}(?: (?:(?:of|the|de|von|van) (?:the )?)?{_CAPITAL})+"
_FREE = rf"[\w--[{UNSPACED}]]"
_SPANS = (
    ("code", re.compile(r"`([\w./:=@~+-]*[A-Za-z][\w./:=@~+-]*(?: [\w./:=@~+-]+){0,2})`")),
    ("date", re.compile(rf"(?<![\w.,–-])({_DATE})(?![\w–-])")),
    ("name", re.compile(rf"(?<![\w`'’-])({_NAME})(?![\w`])")),
    ("number", re.compile(rf"(?V1)(?<!{_FREE}|[.,/:#`–—-])({_AMOUNT})(?!{_FREE}|[`/–—-])")),
    ("name", re.compile(rf"(?<=[\p{{Ll}},] )(?=\w\w)({_CAPITAL})(?![\w`-])")),
    ("term", re.compile(rf"(?V1)(?<![\w`'’./-])(\p{{Ll}}{{8,}}|[[\p{{Lo}}\p{{M}}\u200c\u200d]--[{UNSPACED}]]{{5,}})(?![\w`'’/-])")),
)
_MARK = re.compile(r"^\s*(?:(?:[-*+•>]|\d{1,3}[.)]|#{1,6})\s+)+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_BORDER = re.compile(r"^[\s|:+=-]+$")


@dataclass(frozen=True, slots=True)
class _Blank:
    """A span of a sentence that may be asked for."""

    kind: str
    answer: str
    sentence: str
    question: str

    @property
    def weak(self) -> bool:
        """Whether the answer is easily guessed: one digit, or one capitalised word."""
        return len(self.answer) == 1 or self.answer.isalpha()


def cloze(passage: Passage, wanted: int, seed: int) -> list[Question]:
    """At most `wanted` fill-in questions over the text's own names, numbers and dates, of kind `cloze`; their fact is the sentence.

    No answer is asked for twice or stands in the title or in the rest of its sentence. Sentences come before second blanks of the same
    sentence, and kinds of answers alternate. Long words that the text uses once serve where names and numbers are too few.
    Deterministic in the passage and the seed.
    """
    rng = random.Random(f"{seed}\0{passage.id}")
    blanks = [blank for sentence in statements(passage.context) for blank in _blanks(sentence) if _fair(blank, passage.title)]
    rng.shuffle(blanks)
    terms = Counter(words(passage.context))
    blanks = [blank for blank in blanks if blank.kind != "term" or terms[blank.answer] == 1]
    asked: list[_Blank] = []
    while blanks and len(asked) < wanted:
        sentences_used, kinds_used = Counter(blank.sentence for blank in asked), Counter(blank.kind for blank in asked)
        best = min(blanks, key=lambda blank: (blank.kind == "term", sentences_used[blank.sentence], kinds_used[blank.kind], blank.weak))
        asked.append(best)
        blanks = [blank for blank in blanks if normalise(blank.answer) != normalise(best.answer)]
    place = {sentence: number for number, sentence in enumerate(statements(passage.context))}
    asked.sort(key=lambda blank: place[blank.sentence])
    return [Question(f"Fill in the blank: {blank.question}", blank.answer, kind="cloze", fact=blank.sentence) for blank in asked]


def statements(context: str) -> list[str]:
    """The text in pieces that can stand alone: sentences of prose and of list items, rows of tables with their headings, lines of code."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", context):
        lines = [line for line in block.split("\n") if line.strip() and not line.strip().startswith(("```", "~~~"))]
        rows = [line for line in lines if line.strip().startswith("|")]
        if len(rows) > 1 and len(rows) == len(lines):
            found += _rows(rows)
        elif any(_MARK.match(line) for line in lines) or not any(line.rstrip().endswith(ENDS) for line in lines):
            found += [sentence for line in lines for sentence in sentences(_MARK.sub("", line))]
        else:
            found += sentences(" ".join(line.strip() for line in lines))
    return list(dict.fromkeys(re.sub(r"\s+", " ", piece).strip() for piece in found))


def _rows(lines: list[str]) -> list[str]:
    """Each row of a table as `heading: cell; heading: cell`."""
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if not _BORDER.match(line)]
    if not cells:
        return []
    head, *body = cells
    return ["; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(head, row, strict=False) if cell) for row in body]


def _blanks(sentence: str) -> Iterator[_Blank]:
    """Every span that may be blanked, the more telling kinds first; spans do not overlap."""
    taken: list[range] = []
    for kind, pattern in _SPANS:
        for match in pattern.finditer(sentence):
            start, end = match.span(1)
            if any(start < other.stop and other.start < end for other in taken):
                continue
            taken.append(range(start, end))
            if kind == "name" and _opens(sentence, start):
                continue
            yield _Blank(kind, match.group(1), sentence, sentence[:start] + BLANK + sentence[end:])


def _opens(sentence: str, start: int) -> bool:
    """Whether a span begins the sentence (or a cell or quotation of it), where capitals mean nothing."""
    return not re.search(r"\w", sentence[:start]) or sentence[:start].rstrip().endswith((*ENDS, "“", '"'))


def _fair(blank: _Blank, title: str) -> bool:
    """Whether the blank can be asked: enough is left to know what is meant, and what is left does not answer it."""
    rest = blank.question.replace(BLANK, " ")
    clue = [word for word in words(rest) if len(word) > 2 and not word.isdigit()]
    told = gold_token_recall(f"{title} {rest}", blank.answer) >= 0.5 or contains(rest, blank.answer)
    clues = len(clue) + len(_UNSPACED.findall(rest)) // 4
    needed = 1 if blank.kind == "code" or re.search(r"[:=]", rest) else 3
    return bool(words(blank.answer)) and not told and clues >= needed and len(rest) <= 600 and not _in_label(blank.question)


def _in_label(question: str) -> bool:
    """Whether the blank is in the heading of a cell, or the label before a colon."""
    before, _, after = question.partition(BLANK)
    rest, colon, _ = after.partition(";")[0].partition(": ")
    return bool(colon) and ": " not in before.rpartition(";")[2] and len(f"{before.rpartition(';')[2]} {rest}".split()) <= 8
