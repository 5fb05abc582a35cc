"""Long documents cut into passages of about equal size, at the borders their authors drew: blocks, and sentences where a block is too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

import regex as re

from selfedit.text import sentences

Kind = Literal["prose", "list", "table", "code"]

WRAPPED = 40
"""A line of at least this many characters may have been broken by an editor, and is joined to the next; shorter ones are verse, addresses, logs."""

_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_UNDERLINE = re.compile(r"\s{0,3}(?:=+|-{3,})\s*")
_BROKEN = re.compile(r"(?<!\w)\w++[-‐]\n\s*+\w++")
_DIVIDED, _REST = re.compile(r"(\w*\p{Ll})[-‐]$"), re.compile(r"\p{Ll}\w*")
_SUSPENDED = ("and", "or", "to", "und", "oder")
_FIRST_PARTS = frozenset(
    """all anti co cross ever ex far first full half hand high home left long low mid multi near non off old on one open over post pre right second
    self semi short single so third two three well wide twenty thirty forty fifty sixty seventy eighty ninety""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Block:
    """What must not be torn without need: a paragraph, list, table or piece of code; `line` is where it begins in its file, from 1."""

    kind: Kind
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage to be: its title, text, and the line of its file where it begins, from 1."""

    title: str
    context: str
    line: int


def cut_text(text: str, name: str, passage_words: int) -> list[Piece]:
    """The passages of a plain text. The title is a short first line that stands alone, else `name`."""
    lines = groupby(enumerate(text.split("\n"), start=1), key=lambda entry: bool(entry[1].strip()))
    paragraphs = [list(group) for filled, group in lines if filled]
    if len(paragraphs) > 1 and _is_title([line for _, line in paragraphs[0]]):
        name, paragraphs = paragraphs[0][0][1].strip(), paragraphs[1:]
    known = frozenset(re.findall(r"\w+(?:-\w+)*", _BROKEN.sub(" ", text.lower())))
    return packed(name, [block("\n".join(line for _, line in part), part[0][0], known) for part in paragraphs], passage_words)


def block(paragraph: str, line: int, known: frozenset[str] | None = None) -> Block:
    """A paragraph as a block, hard-wrapped lines joined. With the `known` words of the text, words that a line's end divided are made whole."""
    kind = _kind(paragraph.splitlines())
    return Block(kind, paragraph if kind in ("table", "code") else _unwrapped(paragraph.splitlines(), kind, known), line)


# ---------------------------------------------------------------- size and packing


def size(text: str) -> float:
    """Length in words; text without spaces (code, Chinese) counts a word for eight bytes."""
    return max(len(text.split()), len(text.encode()) / 8)


def packed(title: str, blocks: Sequence[Block], passage_words: int) -> list[Piece]:
    """Blocks packed into pieces of about `passage_words`, as even as the borders allow; only a block that is too large is torn."""
    units = [(*unit, one.line) for one in blocks for unit in _units(one, passage_words)]
    total = sum(size(text) for text, _, _ in units)
    count = max(1, round(total / passage_words))
    pieces: dict[int, list[str]] = {}
    begins: dict[int, int] = {}
    done = 0.0
    for text, glue, line in units:
        length = size(text)
        index = min(int((done + length / 2) / total * count), count - 1)
        pieces.setdefault(index, []).extend([glue, text])
        begins.setdefault(index, line)
        done += length
    return [Piece(title, "".join(parts[1:]), begins[index]) for index, parts in pieces.items()]


def _units(one: Block, passage_words: int) -> Iterator[tuple[str, str]]:
    """(text, glue to what stands before it). A block that fits is one unit; a table's head is repeated on every part."""
    if size(one.text) <= passage_words * 1.25:
        yield one.text, "\n\n"
        return
    if one.kind == "prose":
        parts, glue = sentences(one.text), " "
    elif one.kind == "table":
        head, rows = _table(one.text.splitlines())
        parts, glue = _filled(rows, passage_words - size(head)), "\n\n"
        parts = [f"{head}\n{part}" if head else part for part in parts]
    else:
        parts, glue = one.text.splitlines(), "\n"
    first = "\n\n"
    for part in parts:
        for bit in [part] if size(part) <= passage_words * 1.25 else _torn(part, passage_words):
            yield bit, first
            first = glue


def _filled(bits: Sequence[str], room: float, glue: str = "\n") -> list[str]:
    """Bits joined into parts that fit."""
    parts: list[list[str]] = []
    filled = 0.0
    for bit in bits:
        if parts and filled + size(bit) <= room:
            parts[-1].append(bit)
        else:
            parts.append([bit])
            filled = 0.0
        filled += size(glue + bit)
    return [glue.join(part) for part in parts]


def _torn(text: str, passage_words: int) -> list[str]:
    """Text without any border, by force: at words, and a word that is still too long at characters."""
    bits = [word[i : i + 2 * passage_words] for word in text.split() for i in range(0, len(word), 2 * passage_words)]
    return _filled(bits, passage_words, " ")


def _table(lines: list[str]) -> tuple[str, list[str]]:
    """The head of a table (with its border) and its rows."""
    border = next((i for i, line in enumerate(lines) if is_border(line)), -1)
    return "\n".join(lines[: border + 1]), lines[border + 1 :]


# ---------------------------------------------------------------- reading structure


def is_border(line: str) -> bool:
    """Whether a line is the rule between a table's head and its rows."""
    return "|" in line and "-" in line and not line.strip("|:- \t")


def _is_title(lines: list[str]) -> bool:
    underlined = len(lines) == 2 and _UNDERLINE.fullmatch(lines[1]) is not None
    alone = len(lines) == 1 and not lines[0].rstrip().endswith((".", ",", ";", ":", "?", "!", "。"))
    return (underlined or alone) and len(lines[0].split()) <= 12 and len(lines[0]) <= 100 and not _ITEM.match(lines[0])


def _kind(lines: list[str]) -> Kind:
    if any(map(is_border, lines)) or all(line.lstrip().startswith("|") for line in lines):
        return "table"
    if any(_ITEM.match(line) for line in lines):
        return "list"
    return "code" if all(line.startswith(("    ", "\t")) for line in lines) else "prose"


def _unwrapped(lines: list[str], kind: Kind, known: frozenset[str] | None) -> str:
    """Hard-wrapped lines joined, in lists to their item; short lines are left as they are."""
    wrapped = all(len(line.strip()) >= WRAPPED for line in lines[:-1])
    kept = [lines[0].rstrip() if kind == "list" else lines[0].strip()]
    for before, line in pairwise(lines):
        if (_ITEM.match(line) or len(before) < WRAPPED) if kind == "list" else not wrapped:
            kept += ["\n", line.rstrip() if kind == "list" else line.strip()]
        else:
            kept[-1], glue = _seam(kept[-1], line.strip(), known)
            kept += [glue, line.strip()]
    return "".join(kept)


def _seam(before: str, after: str, known: frozenset[str] | None) -> tuple[str, str]:
    """The end of a line, and what joins it to the next: nothing where one word was divided between them.

    A hyphen goes where the text has the word without it elsewhere, or has neither the word with it nor its second half. Where the hyphen may
    belong to the word (`well-known`), it stays.
    """
    left, right = _DIVIDED.search(before[-WRAPPED:]), _REST.match(after)
    if known is None or not left or not right or right[0] in _SUSPENDED:
        return before, " "
    first, rest = left[1].lower(), right[0].lower()
    own = f"{first}-{rest}" in known or rest in known or first in _FIRST_PARTS
    return (before, "") if own and first + rest not in known else (before[:-1], "")
