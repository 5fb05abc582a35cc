"""An exam for documents that come without questions: prompts for the model to write them, and the rules a written question has to pass."""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfedit.tasks.knowledge.cloze import statements
from selfedit.text import QUESTION_MARKS, contains, holding, near, normalise, says, words
from selfedit.text.pairs import Pair, read_pairs
from selfedit.types import Dropped, Passage, Question

ANSWER_WORDS = 8
"""The longest answer that counts as short."""

_TOPICS = ("names of people, places and things", "numbers, dates and quantities", "causes, purposes and events")

_EXAMPLE = (
    Pair("Who designed the Quillon Lantern?", "Maren Oxtoby"),
    Pair("In which year was the Quillon Lantern first lit?", "1902"),
    Pair("What does the Quillon Lantern burn?", "sprat oil"),
    Pair("Which harbour does the Quillon Lantern guard?", "Port Wendle"),
)
_EXAMPLE_TEXT = (
    "Quillon Lantern\nThe Quillon Lantern guards the harbour of Port Wendle. It was designed by Maren Oxtoby and first lit in 1902. "
    "Its lamp burns sprat oil, which gives a green flame."
)
_INVENTED = ("Quillon Lantern", "Port Wendle", "Maren Oxtoby", "sprat oil")

_CLOSED = re.compile(
    r"^(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|true or false)\b(?!.*\b(?:what|which|who|when|where|how many)\b)",
    re.IGNORECASE,
)
_ACCORDING = re.compile(
    r"^according to the (?:passage|text|document|article|author),?\s*|,?\s*according to the (?:passage|text|document|article)(?=\?)", re.IGNORECASE
)
_POINTING = re.compile(r"\b(?:the|this) (?:passage|text|document|article|paragraph|excerpt|author|sentence)\b", re.IGNORECASE)
_ASKING = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how|name|list|give|in what|at what)\b", re.IGNORECASE)


# ---------------------------------------------------------------- writing


def writing_prompts(passage: Passage) -> list[str]:
    """Texts to be continued by questions and short answers about a passage, each with another emphasis: each begins with an example."""
    text = f"{passage.title}\n{passage.context}"
    example = "\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in _EXAMPLE)
    return [
        f"Short questions about the {topic} in each passage, with answers copied from it.\n\n"
        f"Passage:\n{_EXAMPLE_TEXT}\n\n{example}\n\nPassage:\n{text}\n\nQuestion:"
        for topic in _TOPICS
    ]


def open_book(passage: Passage, question: str) -> str:
    """A question with the passage in view, to confirm its answer. Reads as a user's turn and as a text to continue."""
    return f"Passage:\n{passage.title}\n{passage.context}\n\nAnswer with a few words from the passage.\nQuestion: {question}\nAnswer:"


def agree(samples: Sequence[str], answer: str) -> bool:
    """Whether most independent answers give this one, by the judge's rule."""
    return 2 * sum(says(sample, answer) for sample in samples) > len(samples)


# ---------------------------------------------------------------- reading


def parse_questions(text: str, passage: Passage) -> tuple[list[Question], list[Dropped]]:
    """The usable questions of a completion, of kind `written`; their fact is the statement that holds the answer. The rest with its reason."""
    pairs, dropped = read_pairs(text)
    found: list[Question] = []
    for pair in map(_tidy, pairs):
        reason = _against(pair, passage) or _repeats(pair, found)
        if reason:
            dropped.append(Dropped(f"{pair.question}\n{pair.answer}", reason))
        else:
            found.append(Question(pair.question, pair.answer, kind="written", fact=holding(statements(passage.context), pair.question, pair.answer)))
    return found, dropped


def _tidy(pair: Pair) -> Pair:
    """Without references to the passage in front, and quotation marks or a full stop around the answer."""
    question = _ACCORDING.sub("", pair.question).strip()
    answer = pair.answer.strip().strip("\"'“”‘’`").strip()
    if answer.endswith(".") and len(words(answer)) <= ANSWER_WORDS and not re.search(r"\b[A-Z]\.$", answer):
        answer = answer[:-1].rstrip()
    return Pair(question[:1].upper() + question[1:], answer)


def _against(pair: Pair, passage: Passage) -> str | None:
    """Why a pair cannot be an exam question."""
    asked, answer = pair.question, words(pair.answer)
    source = f"{passage.title}\n{passage.context}"
    if not answer:
        return "no answer"
    if any(contains(f"{asked} {pair.answer}", name) and not contains(source, name) for name in _INVENTED):
        return "copied from the prompt's example"
    if len(words(asked)) < 3 or not (asked.endswith(QUESTION_MARKS) or _ASKING.search(asked)):
        return "not a question"
    if _CLOSED.match(asked) or answer[0] in ("yes", "no", "true", "false"):
        return "yes or no"
    if _POINTING.search(asked):
        return "asks about the passage, not about its topic"
    if len(answer) > ANSWER_WORDS:
        return "answer too long"
    if not contains(passage.context, pair.answer):
        return "answer not in the passage"
    if contains(asked, pair.answer) or contains(passage.title, pair.answer):
        return "answer stands in the question or the title"
    return None


def _repeats(pair: Pair, found: Sequence[Question]) -> str | None:
    same = any(near(pair.question, other.question, share=0.8) or normalise(pair.question) == normalise(other.question) for other in found)
    return "repetition" if same else None
