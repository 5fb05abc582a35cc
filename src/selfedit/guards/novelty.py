"""Does a self-edit say something, and something else than the others of its task? A weak model repeats itself, within a self-edit and between them.

Of the distinct texts of a self-edit: distinct-2, the share of pairs of neighbouring words that are different (Li et al. 2016, arXiv 1510.03055), and
how far they can be compressed. Between self-edits: the Jaccard similarity of their runs of three words (Broder 1997). Copies are allowed unless a
recipe says otherwise: strategies that write little by chance give the same good self-edit twice.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from pydantic import Field

from selfedit.guards.base import CandidateSeen, Guard, accept, guard, reject
from selfedit.parts import Settings
from selfedit.types import SelfEdit, Verdict

FEWEST = 30
"""Words that a self-edit has at least for its repetitions to be counted: a short one may repeat itself."""
_WORD = re.compile(r"\w+")


class NoveltySettings(Settings):
    """Settings of `novelty`."""

    min_distinct: float = Field(0.2, ge=0, le=1)
    """Smallest share of different pairs of neighbouring words; 0 allows any."""
    min_compressed: float = Field(0.12, ge=0, le=1)
    """Smallest size of the compressed texts, as a share of their size; 0 allows any."""
    max_similar: float = Field(1.0, ge=0, le=1)
    """Largest Jaccard similarity, in runs of three words, with an earlier self-edit of the task in the round; 1 allows copies."""


@guard("novelty", means="a self-edit that repeats itself, or if set an earlier one, is rejected", settings=NoveltySettings)
class Novelty(Guard):
    """Looks at the texts of a self-edit alone."""

    stage = "candidate"

    def verdict(self, seen: CandidateSeen) -> Verdict | None:
        """None where the self-edit is not known."""
        return None if seen.edit is None else novelty(seen.edit, seen.earlier, self.settings)


def novelty(edit: SelfEdit, earlier: Sequence[SelfEdit], limits: NoveltySettings) -> Verdict:
    """Rejects what repeats itself, or an earlier self-edit, beyond the limits."""
    texts = _texts(edit)
    count = sum(len(words(text)) for text in texts)
    variety, compressed = distinct(texts), compression(texts)
    similar = max((similarity(edit, other) for other in earlier), default=0.0)
    reason = f"{variety:.0%} of its pairs of words are different, it compresses to {compressed:.0%}, and is {similar:.0%} the same as an earlier one"
    repeats = count >= FEWEST and (variety < limits.min_distinct or compressed < limits.min_compressed)
    return reject(f"{reason}: it repeats itself") if repeats else reject(reason) if similar > limits.max_similar else accept(reason)


def distinct(texts: Sequence[str]) -> float:
    """Distinct-2: different pairs of neighbouring words over all of them; 1 where there are none."""
    pairs = [pair for text in texts for pair in _runs(text, 2)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def compression(texts: Sequence[str]) -> float:
    """The size of the compressed texts (DEFLATE, as gzip) over their size; 1 where there is nothing to compress."""
    written = "\n".join(texts).encode()
    return min(1.0, len(zlib.compress(written, 9)) / len(written)) if written else 1.0


def similarity(one: SelfEdit, other: SelfEdit) -> float:
    """Jaccard similarity of two self-edits' runs of three words; 0 where neither has any."""
    a, b = ({run for text in _texts(edit) for run in _runs(text, 3)} for edit in (one, other))
    return len(a & b) / len(a | b) if a | b else 0.0


def words(text: str) -> list[str]:
    """Words and numbers, case folded."""
    return _WORD.findall(text.casefold())


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    found = words(text)
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


def _texts(edit: SelfEdit) -> list[str]:
    """The distinct texts that an adapter would learn from or be asked: questions come in several wordings with the same answer, which is no fault."""
    return list(dict.fromkeys(text for example in edit.examples for text in (example.prompt, example.text) if text))
