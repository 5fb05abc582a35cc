"""The local judge: whether a prediction gives the right answer, and how much else it says. The same verdict every time, no model, no network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from selfedit.text.normal import numbers, words

RECALL = 0.6
"""A prediction is right only if it holds at least this share of the gold answer's words."""

_YES = re.compile(r"\byes\b(?!-\w)", re.IGNORECASE)
_NO = re.compile(
    r"\bno\b(?=\W*$|\s*[,;:!?)\"”]|\.(?!\s*\d)|\s+[-–—]|\s+(?:it|they|he|she|there|this|that|i|we|you|because|since|but|not)\b)", re.IGNORECASE
)
"""A "no" that answers: at the end of a clause, or before a pronoun; "no limit" is none."""
_RUN = re.compile(r"\d\S{0,3}\s*(?:[-–—]|to)\s*[$€£]?\d")
_WORD = re.compile(r"[^\W_]+(?:[’'][^\W_]+)*")
_SMALL = frozenset("a an and d da de del der di du for in la le of the van von y".split())  # noqa: SIM905
"""Words that stand uncapitalised in names."""
_OPENING = frozenset(
    """
    a after and as at because before both but by during for from he her his if in it its no on or she since so that the their they this to under was
    when where which while with yes
    """.split()  # noqa: SIM905
)
"""Words that are capitalised where a sentence begins."""
_MARK = re.compile(r"[A-Z]|[IVX]+")
"""What tells things of one name apart: vitamin C, Elizabeth II."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How a prediction compares with the gold answers, the best of which counts.

    `correct`: it gives the answer, whatever else it says. `f1`: SQuAD's token F1, 0 to 1, which falls with all else that is said. `exact`: it says
    the answer and nothing else.
    """

    correct: bool
    f1: float
    exact: bool


def judge_answer(prediction: str, golds: Sequence[str]) -> Judged:
    """Compare a prediction with one gold answer or several. Raises ValueError where there is none."""
    if not golds:
        raise ValueError("there is no gold answer to judge by")
    return Judged(
        correct=any(says(prediction, gold) for gold in golds),
        f1=max(token_f1(prediction, gold) for gold in golds),
        exact=any(exact_match(prediction, gold) for gold in golds),
    )


def gold_token_recall(prediction: str, gold: str) -> float:
    """Share of the gold answer's words (with their counts) that the prediction holds, 0 to 1."""
    said, wanted = _compared(prediction, gold)
    return (Counter(said) & Counter(wanted)).total() / len(wanted) if wanted else 0.0


def token_f1(prediction: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the words, with their counts, 0 to 1 (SQuAD: Rajpurkar et al. 2016, section 6.1)."""
    said, wanted = _compared(prediction, gold)
    return 2 * (Counter(said) & Counter(wanted)).total() / (len(said) + len(wanted)) if wanted else 0.0


def exact_match(prediction: str, gold: str) -> bool:
    """Whether the words are the same, in the same order (SQuAD's exact match)."""
    said, wanted = _compared(prediction, gold)
    return said == wanted


def says(prediction: str, gold: str) -> bool:
    """Whether the prediction gives the gold answer, whatever else it says.

    It holds at least `RECALL` of the gold answer's words and all of its numbers, those of a range in the same order. It does not put another name
    in the place of one ("Maria Anna Vogel" for "Maria Anna Keller"), nor say yes for no. A gold answer of a single letter or of symbols has to stand
    there as it is written, and one that is yes or no has to be given as an answer: "There is no limit, so yes" says yes.
    """
    given, wanted = _verdict(prediction), _verdict(gold)
    if words(gold) in (("yes",), ("no",)):
        return given == wanted
    if _symbol(gold):
        return _stands(prediction, gold)
    opposed = wanted is not None and given not in (None, wanted)
    return not opposed and gold_token_recall(prediction, gold) >= RECALL and _numbers_stand(prediction, gold) and not _other_name(prediction, gold)


def _compared(prediction: str, gold: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of both; where the gold answer has none (symbols or articles only), both as written."""
    return (words(prediction), words(gold)) if words(gold) else (_written(prediction), _written(gold))


def _written(text: str) -> tuple[str, ...]:
    """What stands between spaces, in lower case, without the punctuation of a sentence."""
    return tuple(part.strip(".,;:!?\"'“”‘’()") or part for part in text.casefold().split())


def _verdict(text: str) -> str | None:
    """`yes` or `no`, whichever of them a text gives as an answer; `both` where it gives both, None where neither."""
    given = [name for name, pattern in (("yes", _YES), ("no", _NO)) if pattern.search(text)]
    return "both" if len(given) > 1 else given[0] if given else None


def _symbol(gold: str) -> str:
    """The letter, or what there is of signs and articles, where that is all of a gold answer; otherwise empty."""
    bare = gold.strip().strip(".,;:!?\"'“”‘’()") or gold.strip()
    return bare if not words(gold) or (len(bare) == 1 and bare.lower() != bare.upper()) else ""


def _stands(prediction: str, gold: str) -> bool:
    """Whether a letter or a sign stands in the prediction as it is written, and not as the word "a" or "I"."""
    bare = _symbol(gold)
    if _written(prediction) == _written(gold):
        return True
    if not bare.isalpha():
        return gold_token_recall(prediction, gold) == 1
    letter = rf"(?<![\w'’.+#-]){re.escape(bare)}(?![\w'’+#−-]|\.\w)"
    if bare not in ("a", "an", "the", "A", "I"):
        return re.search(letter, prediction) is not None
    naming = rf"{letter}(?!\s+\w)"  # not before a word
    if bare.isupper():
        naming += rf"|{letter}(?=\s+(?:is|was|and|or)\b)"
    if bare == "A":
        naming += rf"|(?<=[^\W\d_] ){letter}(?=\s+[a-z\d])"  # vitamin A helps
    return re.search(naming, prediction) is not None


def _numbers_stand(prediction: str, gold: str) -> bool:
    """Whether all numbers of the gold answer stand in the prediction; those of a range or a score one after the other."""
    said, wanted = numbers(prediction), numbers(gold)
    if not _RUN.search(gold):
        return set(wanted) <= set(said)
    return any(said[place : place + len(wanted)] == wanted for place in range(len(said) - len(wanted) + 1))


def _other_name(prediction: str, gold: str) -> bool:
    """Whether the prediction has another capitalised word where a name that is the gold answer has one of its own.

    A word of the name that is nowhere in the prediction is compared with what stands there beside its neighbour. One that is only left out, as a
    middle name may be, is no other.
    """
    said, wanted = list(_WORD.finditer(prediction)), list(_WORD.finditer(gold))
    there, name = {_bare(word) for word in said}, all(word[0][0].isupper() or word[0] in _SMALL for word in wanted)
    own = {_bare(word) for word in wanted}
    for first, second in pairwise(wanted):
        if (_bare(first) in there) == (_bare(second) in there):
            continue
        known, missing = (first, second) if _bare(first) in there else (second, first)
        beside = [pair if known is first else pair[::-1] for pair in pairwise(said) if prediction[pair[0].end() : pair[1].start()].isspace()]
        others = [other[0] for same, other in beside if _bare(same) == _bare(known) and _bare(other) not in own and other[0][0].isupper()]
        if any((name and other.casefold() not in _OPENING) or (_MARK.fullmatch(missing[0]) and _MARK.fullmatch(other)) for other in others):
            return True
    return False


def _bare(word: re.Match[str]) -> str:
    return re.sub(r"[’']s$", "", word[0].casefold())
