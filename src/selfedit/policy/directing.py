"""The questions by which the policy sets directives for a self-edit: one for each slot, or one for all of them as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from selfedit.directives import Directive, Space, write
from selfedit.types import Directives, Prompt, Turn

_CHAT = """A language model is to be trained on study material about the passage below. The material: {way}

Passage:
{title}
{context}

{told}Which value of {name} ({means}) helps most {aim}? One of {values}. Answer with the value alone."""

_BASE = """A language model is trained on study material about each passage, with the settings that help most {aim}.
{meanings}
The material: {way}

Passage:
{title}
{context}

Settings:
{told}{name}:"""

_CHAT_JSON = """A language model is to be trained on study material about the passage below. The material: {way}

Passage:
{title}
{context}

Which settings help most {aim}?
{meanings}
Answer with one JSON object that has each of them once, such as {example}, and nothing else."""

_BASE_JSON = """A language model is trained on study material about each passage, with the settings that help most {aim}, as a JSON object \
such as {example}.
{meanings}
The material: {way}

Passage:
{title}
{context}

Settings as JSON:"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What directives are set for: a passage and, in words, how the self-edit will be written (`way`) and what for (`aim`)."""

    title: str
    context: str
    way: str
    chat: bool
    aim: str


@dataclass(frozen=True, slots=True)
class Directed:
    """What the policy set, and the turns in which it did; the `problem` where what it wrote cannot be used."""

    turns: tuple[Turn, ...] = ()
    directives: Directives = ()
    problem: str = ""


def slot(directive: Directive, subject: Subject, before: Directives) -> list[Turn]:
    """Every alternative of a directive as the turn in which the policy would have set it, given what was set `before`."""
    s, values = subject, ", ".join(directive.written)
    if s.chat:
        told = f"Set already: {', '.join(f'{name} {write(value)}' for name, value in before)}.\n" if before else ""
        text = _CHAT.format(
            way=s.way, aim=s.aim, title=s.title, context=s.context, told=told, name=directive.name, means=directive.means, values=values
        )
        return [Turn(Prompt(text), said) for said in directive.written]
    told = "".join(f"{name}: {write(value)}\n" for name, value in before)
    text = _BASE.format(meanings=_meaning(directive), way=s.way, aim=s.aim, title=s.title, context=s.context, told=told, name=directive.name)
    return [Turn(Prompt(text, continued=True), f" {said}") for said in directive.written]


def as_object(space: Space, subject: Subject) -> Prompt:
    """The question to which one JSON object with all directives is the answer."""
    s, meanings = subject, "\n".join(map(_meaning, space.directives))
    text = (_CHAT_JSON if s.chat else _BASE_JSON).format(
        way=s.way, aim=s.aim, title=s.title, context=s.context, meanings=meanings, example=space.example
    )
    return Prompt(text, continued=not s.chat)


def answered(space: Space, turn: Turn) -> Directed:
    """What the policy set in a turn that has to be one JSON object, or why it cannot be used."""
    try:
        return Directed((turn,), space.parse(turn.completion))
    except ValueError as error:
        return Directed((turn,), problem=f"its directives cannot be used: {error}")


def _meaning(directive: Directive) -> str:
    """A directive in one line of a prompt."""
    return f"- {directive.name}: {directive.means}; {directive.range}"
