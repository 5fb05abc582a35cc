"""The strategies a self-edit can be written with (SEAL, appendix B.11). A new one is one entry here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from selfedit.errors import ConfigError
from selfedit.strategies import prompts
from selfedit.strategies.parsing import LINES, Draft, Parsed, grounded_questions, nothing, questions, statements
from selfedit.strategies.spans import Span, spans
from selfedit.text import finished
from selfedit.types import Dropped, Example, Prompt, SelfEdit, Turn


@dataclass(frozen=True, slots=True)
class Source:
    """What a self-edit is written from; `seed` decides where a strategy has a choice, `spans` is how many short answers are asked about at most."""

    title: str
    context: str
    chat: bool
    seed: int
    spans: int = LINES // 2


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a self-edit is asked for, how the pieces that come back are put together, and how the whole is read."""

    name: str
    description: str
    ask: Callable[[Source], tuple[Prompt, ...]]
    parse: Callable[[Draft], Parsed]
    piece: Callable[[Turn], str] = lambda turn: turn.completion


def _whole(chat: str, base: str) -> Callable[[Source], tuple[Prompt, ...]]:
    """One prompt over the whole passage: a user's turn for chat models, a text to continue for base ones."""

    def ask(source: Source) -> tuple[Prompt, ...]:
        template = chat if source.chat else base
        return (Prompt(template.format(title=source.title, context=source.context), continued=not source.chat),)

    return ask


def _ask_for_spans(whole: bool) -> Callable[[Source], tuple[Prompt, ...]]:
    """A prompt for each of the passage's short answers, always as a text to continue: small models follow examples better than requests.

    What the question will be answered with is the span itself, or the `whole` sentence it stands in.
    """

    def ask(source: Source) -> tuple[Prompt, ...]:
        found = spans(source.title, source.context, source.spans, source.seed)
        return tuple(span_prompt(source.title, span, whole) for span in found)

    return ask


def span_prompt(title: str, span: Span, whole: bool) -> Prompt:
    """Asks for the question whose answer is the span, or the `whole` sentence it stands in."""
    text = prompts.SPAN_QA.format(title=title, sentence=span.sentence, answer=span.answer)
    return Prompt(text, continued=True, given=span.sentence if whole else span.answer)


def _question_for_answer(turn: Turn) -> str:
    """The first line that was written is the question, the answer was given."""
    return f"Question: {turn.completion.strip().splitlines()[0].strip()}\nAnswer: {turn.prompt.given}" if turn.completion.strip() else ""


def _implications(name: str, amount: str) -> Strategy:
    chat, base = prompts.implications_chat(amount), prompts.implications_base(amount)
    return Strategy(name, f"a {amount} of what follows from the passage, a sentence a line", _whole(chat, base), statements)


_ALL = (
    Strategy("passage-only", "the passage as it is; nothing is written", lambda source: (), nothing),
    _implications("implications", "list"),
    _implications("implications-long", "long list"),
    _implications("implications-very-long", "very long list"),
    Strategy("rewrite", "the passage in a few other wordings", _whole(prompts.REWRITE_CHAT, prompts.REWRITE_BASE), statements),
    Strategy(
        "self-qa",
        "questions and short answers, learned in the form in which questions are asked",
        _whole(prompts.SELF_QA_CHAT, prompts.SELF_QA_BASE),
        questions,
    ),
    Strategy(
        "span-qa",
        "a question for each of the passage's names, numbers and phrases, one at a time: for small models",
        _ask_for_spans(whole=False),
        grounded_questions,
        _question_for_answer,
    ),
    Strategy(
        "sentence-qa",
        "the same questions, answered with the whole sentence: for models too small to ask precisely",
        _ask_for_spans(whole=True),
        grounded_questions,
        _question_for_answer,
    ),
    Strategy("key-facts", "the facts of the passage, one short sentence each", _whole(prompts.KEY_FACTS_CHAT, prompts.KEY_FACTS_BASE), statements),
)
STRATEGIES: Mapping[str, Strategy] = MappingProxyType({strategy.name: strategy for strategy in _ALL})


def prompts_for(strategy: str | Strategy, title: str, context: str, chat: bool, seed: int, spans: int = LINES // 2) -> tuple[Prompt, ...]:
    """What the policy is asked, one prompt for each turn; none where nothing is to be written."""
    return _known(strategy).ask(Source(title, context, chat, seed, spans))


def at_once(asked: Sequence[Prompt]) -> bool:
    """Whether these prompts of a strategy ask once for the whole passage, so that a single completion is a self-edit."""
    return len(asked) == 1 and not asked[0].given


def build(strategy: str | Strategy, title: str, context: str, turns: Sequence[Turn]) -> SelfEdit:
    """Make training examples of what was written; the passage is the last one (SEAL section 4.1). What is left out is recorded with the reason."""
    known = _known(strategy)
    pieces, cut = [], []
    for turn in turns:
        text, broken = finished(piece) if (piece := known.piece(turn)) == turn.completion and turn.finish_reason == "length" else (piece, "")
        pieces.append(text)
        cut += [Dropped(broken, "cut off at the token limit")] if broken else []
    parsed = known.parse(Draft(title, context, turns[0].prompt.text if turns else "", "\n".join(pieces)))
    examples = (*parsed.examples, Example(f"{title}\n{context}"))
    return SelfEdit(known.name, tuple(turns), examples, (*parsed.dropped, *cut))


def joined(choice: str, chosen: Sequence[Turn], edits: Sequence[SelfEdit]) -> SelfEdit:
    """Self-edits of one passage as one, named after the `choice`: every example once, the passage last; the turns in which it was `chosen` first."""
    passage = edits[0].examples[-1]
    examples = dict.fromkeys(e for edit in edits for e in edit.examples if e != passage)
    turns = (*chosen, *(turn for edit in edits for turn in edit.turns))
    return SelfEdit(choice, turns, (*examples, passage), tuple(piece for edit in edits for piece in edit.dropped))


def _known(strategy: str | Strategy) -> Strategy:
    return strategy if isinstance(strategy, Strategy) else find(strategy)


def find(name: str) -> Strategy:
    """The strategy of this name. Raises ConfigError that names the nearest one."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    near = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.0)[0]
    raise ConfigError(f"unknown strategy '{name}'; the nearest is '{near}' (there are: {', '.join(STRATEGIES)})")
