"""Texts as words to be compared: SQuAD's normalisation, with numbers left whole.

SQuAD (Rajpurkar et al. 2016) takes every punctuation mark out, and so makes 25 of 2.5, 40 of -40 and 19216811 of an address. Here a number keeps
what is written inside it and its sign, and is one word however its digits are grouped.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ARTICLES = frozenset({"a", "an", "the"})

_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")
_NAMING_A = re.compile(r"(?<=[^\W\d_] )A(?=\s*(?:$|[^\w\s+#−-])|\s+[a-z\d])")
"""A capital A that names something, as in "vitamin A": in mid-sentence, and no word of a title follows."""
_MARKED = re.compile(r"(?<!\w)[^\W\d_]{1,2}\d?(?:[+#]+(?!\w)|[-−](?![\w-]))")
"""A short word with symbols that make another of it: C++, F#, A-."""
_INSIDE_WORD = re.compile(r"\b[^\W\d_]\w*\d[.:/]\d[\d.:/]*")
"""Digits behind a letter, such as a version's: v2.10."""
_KEPT = str.maketrans("+#-−.:/", "\ue000\ue001\ue002\ue002\ue003\ue004\ue005")
_WRITTEN = str.maketrans("\ue000\ue001\ue002\ue003\ue004\ue005\ue006", "+#-.:/a")
"""Symbols that stay, kept from being removed as characters that no text has."""
_ASCII = str.maketrans("\u2044\u2010\u2011\u066b\u066c", "/--.,")

_UNITS = """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
    """.split()  # noqa: SIM905
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_IN_WORDS = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[- ]?({'|'.join(_UNITS[:9])}))?|({'|'.join(_UNITS[1:])}))\b")
"""Numbers from two to ninety-nine; "one" is as often no number."""

_GROUPED = (
    r"[1-9]\d?(?:,\d\d)+,\d{3}|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?P<mark>[ '’])\d{3}(?:(?P=mark)\d{3})*(?:[.,]\d+)?"
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?|[1-9]\d{0,2}(?:\.\d{3})+,\d\d?"
)
_DATE = r"\d{1,4}-\d\d?-\d{1,4}"
_NUMBER = re.compile(
    r"(?:(?<![\w.,%)\]-])(?<!\d\s)(?P<sign>[-−–]|(?:minus|negative)\s))?(?:[$€£¥₹](?P<inner>[-−]?))?"
    r"(?<![\w^.\ue003-\ue005])(?<!\b[^\W\d_]-)(?<!\b[^\W\d_]{2}-)"
    rf"(?P<body>(?:{_GROUPED}|{_DATE})(?!\d|[.,:/]\d)|\.?\d+(?:[.,:/]\d+)*)"
    r"(?P<power>\^[-−]?\d+|e[-−]?\d+(?!\w))?"
    r"(?:(?P<decade>(?<=0)['’]?s\b)|(?:st|nd|rd|th)\b|\s?(?:%|percent\b|per\scent\b))?"
)


@lru_cache(maxsize=8192)
def words(text: str) -> tuple[str, ...]:
    """SQuAD's normalisation (Rajpurkar et al. 2016): lower case, no punctuation, no English articles.

    Other than in the original, punctuation and symbols of all of Unicode are removed, equivalent spellings of a character are one (NFKC), a
    character of Chinese or Japanese is a word, a capital A that names something ("vitamin A") is no article, symbols stay that make another word of
    a short one ("C++"), and numbers stay whole (`plain_words`).
    """
    return tuple(word.translate(_WRITTEN) for word in _split(text) if word not in ARTICLES)


def plain_words(text: str) -> tuple[str, ...]:
    """As `words`, with the articles.

    A number keeps point, comma, colon and slash between its digits, and a minus in front. Digits grouped by commas, spaces, apostrophes, or two
    points and more, are one number: 12,500 and 12 500 are 12500. One point before three digits is a decimal point, as is a comma before one or two.
    Units are words of their own ("14kg"), per cent and the endings of ordinals are left out; a range is two numbers.
    """
    return tuple(word.translate(_WRITTEN) for word in _split(text))


def normalise(text: str) -> str:
    """The normalised words, with single spaces."""
    return " ".join(words(text))


def numbers(text: str) -> list[str]:
    """The words of a text that hold a digit, in order."""
    return [word for word in words(text) if any(c.isdigit() for c in word)]


def _split(text: str) -> list[str]:
    spelled = _NAMING_A.sub("\ue006", _spelled(text))
    for kept in (_MARKED, _INSIDE_WORD):
        spelled = kept.sub(lambda found: found[0].translate(_KEPT), spelled)
    folded, split, end = _IN_WORDS.sub(_in_digits, spelled.casefold()), list[str](), 0
    for number in _NUMBER.finditer(folded):
        split += [*_bare(folded[end : number.start()]), *_number(number)]
        end = number.end()
    return split + _bare(folded[end:])


def _spelled(text: str) -> str:
    """NFKC, in which ½ stands apart from a number before it and ⁶ does not run into it; decimal digits of all scripts are ASCII's."""
    if text.isascii():
        return text
    text = re.sub(r"[¼-¾⅐-⅞]", r" \g<0>", re.sub(r"[⁺⁻]?[⁰¹²³⁴-⁹]+", r"^\g<0>", text))
    text = re.sub(r"(?![0-9])\d", lambda digit: str(unicodedata.decimal(digit[0])), unicodedata.normalize("NFKC", text))
    return text.translate(_ASCII)


def _in_digits(found: re.Match[str]) -> str:
    tens, unit, small = found.groups()
    return str(_UNITS.index(small) + 1 if small else 20 + 10 * _TENS.index(tens) + (_UNITS.index(unit) + 1 if unit else 0))


def _bare(text: str) -> list[str]:
    """Words without punctuation and symbols."""
    bare = "".join(c for c in text if c.isalnum() or unicodedata.category(c)[0] not in "PS")
    return _UNSPACED.sub(r" \1 ", bare).split()


def _number(found: re.Match[str]) -> list[str]:
    """A number in one spelling; a list without spaces, such as 1,2,3, is several."""
    sign = "-" if found["sign"] or found["inner"] else ""
    ending = f"{(found['power'] or '').replace('−', '-')}{'s' if found['decade'] else ''}"
    body = found["body"]
    if re.fullmatch(_GROUPED, body) and not _address(body):
        return [f"{sign}{_ungrouped(body)}{ending}"]
    if re.fullmatch(r"0,\d+|\d+,\d\d?", body):  # a decimal comma
        body = body.replace(",", ".")
    return f"{sign}{'0' if body.startswith('.') else ''}{body}{ending}".split(",")


def _ungrouped(body: str) -> str:
    """Without the signs between groups of digits; a decimal comma becomes a point."""
    marks = [c for c in body if not c.isdigit()]
    decimal = marks[-1] if marks[-1] in ".," and (len(set(marks)) > 1) else ""
    whole, _, fraction = body.rpartition(decimal) if decimal else (body, "", "")
    digits = "".join(c for c in whole if c.isdigit())
    return f"{digits}.{fraction}" if fraction else digits


def _address(body: str) -> bool:
    """Whether four groups of digits may be an address of the internet."""
    groups = body.split(".")
    return len(groups) == 4 and all(group.isdigit() and int(group) < 256 for group in groups)
