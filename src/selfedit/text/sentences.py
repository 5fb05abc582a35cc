"""Where sentences end, in the scripts that mark it."""

from __future__ import annotations

import re

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces between words, as part of a character class of the package `regex`."""
QUESTION_MARKS = ("?", "？", "؟")
ENDS = (".", "!", "…", "。", "！", "।", "॥", "۔", "።", "။", *QUESTION_MARKS)
"""What a sentence may end with. Thai marks no end."""

_ABBREVIATION = re.compile(
    r"(?:(?:[^\W\d_]\.)+|(?:Mr|Mrs|Ms|Dr|Prof|St|Mt|Ft|Jr|Sr|No|Nos|vs|cf|ca|approx|Fig|Figs|Eq|Vol|pp?|etc"
    r"|Inc|Ltd|Co|Gen|Lt|Col|Capt|Sgt|Rev|Hon|Nr|Str|Hr|Fr|bzw|vgl|geb|gest|Jh|Abb|Bd|гг|вв|им|ул|см|тыс|руб|стр)\.)"
)
_DAY = re.compile(r"\d{1,2}\.")
_MONTH = re.compile(r"(?:Jan|Feb|März|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)\w*\b")
_CLOSING = r"\"'”’)\]」』》）"
_END = re.compile(
    rf"(?<=[.!?…؟۔])(?<!\s[.])[{_CLOSING}]*(\s+)(?=[\"'“‘(\[*_`]*[^\s\"'“‘(\[*_`])|(?<=[。！？।॥።။])[{_CLOSING}]*(\s*)(?=[^\s{_CLOSING}。！？।॥።။])"
)
_FINISHED = re.compile(rf"(?:(?<!\d)[.!?…؟۔][{_CLOSING}*]*|[。！？।॥።။][{_CLOSING}]*)$")


def sentences(text: str) -> list[str]:
    """Cut prose into sentences, without losing a word. Knows common abbreviations and initials; a blank line always ends a sentence."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        start = 0
        for match in _END.finditer(block):
            if block[match.end()].islower() or _abbreviated(
                block[max(start, match.start() - 24) : match.start()], block[match.end() : match.end() + 12]
            ):
                continue
            found.append(block[start : match.end()].strip())
            start = match.end()
        found.append(block[start:].strip())
    return [sentence for sentence in found if sentence]


def _abbreviated(head: str, after: str) -> bool:
    """Whether the full stop at the end belongs to an abbreviation (`Dr.`, `e.g.`), an initial, or a day before a German month (`12. März`)."""
    last = head.rsplit(maxsplit=1)[-1].lstrip("([\"'“‘")
    return _ABBREVIATION.fullmatch(last) is not None or (_DAY.fullmatch(last) is not None and _MONTH.match(after) is not None)


def finished(text: str) -> tuple[str, str]:
    """Divide a text that was cut off by a token limit into what is complete (lines and sentences) and the broken rest."""
    head, newline, last = text.rpartition("\n")
    if not last.strip():
        return text, ""
    *whole, tail = sentences(last)
    if _FINISHED.search(tail):
        return text, ""
    kept = last[: last.rindex(tail)] if whole else ""
    return head + newline + kept, tail
