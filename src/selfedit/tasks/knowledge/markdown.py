"""Long documents cut into passages of about equal size, at the borders their authors drew: headings, blocks, sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from selfedit.text import sentences

Kind = Literal["prose", "list", "table", "code"]

_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")
_HEADING = re.compile(r"^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_UNDERLINE = re.compile(r"^\s{0,3}(=+|-{3,})\s*$")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_ROW_BORDER = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_LINK = re.compile(r"!?\[([^\]\n]*)\](?:\([^()\s]*(?:\s+\"[^\"\n]*\")?\)|\[[^\]\n]*\])")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_NOISE = re.compile(r"^\s*(?:\[[^\]]+\]:\s*\S+.*|(?:</?[a-zA-Z][^>]*>\s*)+|(?:[-*_]\s*){3,})$")
_BADGES = re.compile(r"^\s*(?:\[?!\[[^\]]*\]\([^)]*\)(?:\]\([^)]*\))?\s*)+$")


@dataclass(frozen=True, slots=True)
class Block:
    """What must not be torn without need: a paragraph, list, table or piece of code."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under one heading; `path` names the headings above it, the section's own last."""

    path: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The blocks, a blank line between them."""
        return "\n\n".join(block.text for block in self.blocks)


def cut_text(text: str, name: str, passage_words: int) -> list[tuple[str, str]]:
    """(title, context) of each passage of a plain text. The title is a short first line that stands alone, else `name`."""
    paragraphs = [part.strip("\n") for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
    if len(paragraphs) > 1 and _is_title(paragraphs[0]):
        name, paragraphs = paragraphs[0].splitlines()[0].strip(), paragraphs[1:]
    blocks = [Block(_kind(part), _unwrapped(part, _kind(part))) for part in paragraphs]
    return [(name, piece) for piece in _pieces(blocks, passage_words)]


def cut_markdown(text: str, name: str, passage_words: int) -> list[tuple[str, str]]:
    """(title, context) of each passage of a Markdown document, titled "Document: Section".

    The document's title is that of its front matter or its first level-one heading, else `name`. A section shorter than a third of
    a passage joins its neighbours. Links keep their text only; comments, badges and bare HTML tags are left out.
    """
    front, body = _front_matter(text)
    sections = _sections(body)
    top = next((section.path[0] for section in sections if section.path and section.path[0]), "")
    heading = re.search(r"(?m)^\s{0,3}#\s+(.*?)\s*#*\s*$", body)
    title = front or (_plain(heading.group(1)) if heading else "") or name
    filled = [Section(_below(section.path, title), section.blocks) for section in sections if section.blocks]
    if not filled and top:
        return [(title, "\n".join(section.path[-1] for section in sections if section.path))]
    found = []
    for group in _joined(filled, passage_words):
        label = _label(title, group)
        blocks = group[0].blocks if len(group) == 1 else tuple(block for section in group for block in _headed(section))
        found += [(label, piece) for piece in _pieces(list(blocks), passage_words)]
    return found


# ---------------------------------------------------------------- size and packing


def size(text: str) -> float:
    """Length in words; text without spaces (code, Chinese) counts a word for eight bytes."""
    return max(len(text.split()), len(text.encode()) / 8)


def _pieces(blocks: list[Block], passage_words: int) -> list[str]:
    """Blocks packed into pieces of about `passage_words`, as even as the borders allow; only a block that is too large is torn."""
    units = [unit for block in blocks for unit in _units(block, passage_words)]
    total = sum(size(text) for text, _ in units)
    count = max(1, round(total / passage_words))
    pieces: dict[int, str] = {}
    done = 0.0
    for text, glue in units:
        length = size(text)
        index = min(int((done + length / 2) / total * count), count - 1)
        pieces[index] = f"{pieces[index]}{glue}{text}" if index in pieces else text
        done += length
    return list(pieces.values())


def _units(block: Block, passage_words: int) -> Iterator[tuple[str, str]]:
    """(text, glue to what stands before it). A block that fits is one unit; a table's head is repeated on every part."""
    if size(block.text) <= passage_words * 1.25:
        yield block.text, "\n\n"
        return
    if block.kind == "prose":
        parts, glue = sentences(block.text), " "
    elif block.kind == "table":
        head, rows = _table(block.text)
        parts, glue = _filled(rows, passage_words - size(head)), "\n\n"
        parts = [f"{head}\n{part}" if head else part for part in parts]
    else:
        parts, glue = block.text.splitlines(), "\n"
    first = "\n\n"
    for part in parts:
        for bit in _torn(part, passage_words):
            yield bit, first
            first = glue


def _filled(rows: list[str], room: float) -> list[str]:
    """Rows joined into parts that fit."""
    parts: list[str] = []
    for row in rows:
        if parts and size(parts[-1]) + size(row) <= room:
            parts[-1] += "\n" + row
        else:
            parts.append(row)
    return parts


def _torn(text: str, passage_words: int) -> list[str]:
    """Text without any border, by force: at words, and a word that is still too long at characters."""
    if size(text) <= passage_words * 1.25:
        return [text]
    bits = [word[i : i + 2 * passage_words] for word in text.split() for i in range(0, len(word), 2 * passage_words)]
    torn: list[str] = []
    for bit in bits:
        if torn and size(torn[-1]) + size(bit) <= passage_words:
            torn[-1] += " " + bit
        else:
            torn.append(bit)
    return torn


# ---------------------------------------------------------------- reading structure


def _is_title(paragraph: str) -> bool:
    lines = paragraph.splitlines()
    underlined = len(lines) == 2 and _UNDERLINE.match(lines[1]) is not None
    alone = len(lines) == 1 and not paragraph.rstrip().endswith((".", ",", ";", ":", "?", "!", "。"))
    return (underlined or alone) and len(lines[0].split()) <= 12 and len(lines[0]) <= 100 and not _ITEM.match(lines[0])


def _kind(paragraph: str) -> Kind:
    lines = paragraph.splitlines()
    if any(_ROW_BORDER.match(line) and "|" in line for line in lines) or all(line.lstrip().startswith("|") for line in lines):
        return "table"
    if any(_ITEM.match(line) for line in lines):
        return "list"
    return "code" if all(line.startswith(("    ", "\t")) for line in lines) else "prose"


def _unwrapped(paragraph: str, kind: Kind) -> str:
    """Hard-wrapped lines joined, in lists to their item; short lines (verse, addresses, logs), tables and code are left as they are."""
    lines = paragraph.splitlines()
    if kind in ("table", "code"):
        return paragraph
    if kind == "prose":
        wrapped = len(lines) > 1 and all(len(line.strip()) >= 40 for line in lines[:-1])
        return (" " if wrapped else "\n").join(line.strip() for line in lines)
    joined = lines[:1]
    for before, line in pairwise(lines):
        if _ITEM.match(line) or len(before) < 40:
            joined.append(line.rstrip())
        else:
            joined[-1] += " " + line.strip()
    return "\n".join(joined)


def _front_matter(text: str) -> tuple[str, str]:
    """The title in a YAML head, and the text below it."""
    match = re.match(r"---\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|$)", text, re.DOTALL)
    if not match:
        return "", text
    title = re.search(r"(?m)^title:\s*[\"']?(.+?)[\"']?\s*$", match.group(1))
    return title.group(1) if title else "", text[match.end() :]


def _sections(body: str) -> list[Section]:
    """The document by headings, in order; text before the first has an empty path."""
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    block: list[str] = []
    blocks: list[Block] = []

    def end_block() -> None:
        if any(line.strip() for line in block):
            text = "\n".join(block).strip("\n")
            kind: Kind = "code" if _FENCE.match(block[0]) else _kind(text)
            cleaned = text if kind == "code" else _plain(_unwrapped(text, kind))
            if cleaned.strip():
                blocks.append(Block(kind, cleaned))
        block.clear()

    def end_section() -> None:
        end_block()
        if blocks or path:
            found.append(Section(tuple(name for _, name in path), tuple(blocks)))
        blocks.clear()

    fence = ""
    for line in _with_hashes(body):
        mark = _FENCE.match(line)
        if fence:
            block.append(line)
            if mark and mark.group(1).startswith(fence):
                fence = ""
                end_block()
        elif mark:
            end_block()
            fence = mark.group(1)
            block.append(line)
        elif heading := _HEADING.match(line):
            end_section()
            level = len(heading.group(1))
            path = [entry for entry in path if entry[0] < level] + [(level, _plain(heading.group(2)))]
        elif not line.strip():
            end_block()
        elif not _NOISE.match(line) and not _BADGES.match(line):
            if _ITEM.match(line) and block and not _ITEM.match(block[0]):
                end_block()  # a list interrupts a paragraph
            block.append(line)
    end_section()
    return found


def _with_hashes(body: str) -> list[str]:
    """Lines without comments; underlined headings written with hashes."""
    lines = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).split("\n")
    found: list[str] = []
    fenced = False
    for line in lines:
        fenced ^= _FENCE.match(line) is not None
        under = _UNDERLINE.match(line)
        before = found[-1] if found else ""
        if under and not fenced and before.strip() and not _HEADING.match(before) and not _ITEM.match(before) and "|" not in before:
            found[-1] = ("# " if "=" in line else "## ") + before.strip()
        else:
            found.append(line)
    return found


def _plain(text: str) -> str:
    """Links and images by their text, strong emphasis by its words."""
    return _STRONG.sub(r"\2", _LINK.sub(r"\1", text)).strip("\n")


def _table(text: str) -> tuple[str, list[str]]:
    """The head of a table (with its border) and its rows."""
    lines = text.splitlines()
    border = next((i for i, line in enumerate(lines) if _ROW_BORDER.match(line) and "-" in line), -1)
    return "\n".join(lines[: border + 1]), lines[border + 1 :]


# ---------------------------------------------------------------- sections to titles


def _below(path: tuple[str, ...], title: str) -> tuple[str, ...]:
    return path[1:] if path and path[0] == title else path


def _joined(sections: list[Section], passage_words: int) -> list[list[Section]]:
    """Neighbouring sections together while one of them is shorter than a third of a passage and both fit in one."""
    groups: list[list[Section]] = []
    for section in sections:
        here = size(section.text)
        before = sum(size(other.text) for other in groups[-1]) if groups else 0.0
        if groups and min(before, here) < passage_words / 3 and before + here <= passage_words:
            groups[-1].append(section)
        else:
            groups.append([section])
    return groups


def _label(title: str, group: list[Section]) -> str:
    """ "Document: Section", or the common part and the names of several sections."""
    paths = [section.path for section in group if section.path]
    if len(group) == 1 or not paths:
        return ": ".join([title, *(paths[0] if paths else ())])
    shared = 0
    while all(len(path) > shared + 1 for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    names = ", ".join(path[-1] for path in paths)
    common = [title, *paths[0][:shared]]
    return ": ".join([*common, names] if len(names) <= 80 else common)


def _headed(section: Section) -> tuple[Block, ...]:
    return (Block("prose", section.path[-1]), *section.blocks) if section.path else section.blocks
