"""Markdown documents cut into passages at their headings. The structure is markdown-it's (CommonMark, with tables)."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import regex as re
from markdown_it.token import Token

from selfedit.tasks.knowledge.passages import Block, Piece, block, packed, size
from selfedit.text.markup import document, plain, seen

_FRONT = re.compile(r"(---|\+\+\+)\n(?=\s*[\w\"'.-]+\s*[:=])(.*?)\n(?:\1|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"(?m)^title\s*[:=]\s*[\"']?(.+?)[\"']?\s*$")
_PARSER = document()


@dataclass(slots=True)
class _Section:
    """Blocks under one heading; `path` names the headings above it, the section's own last."""

    path: tuple[str, ...]
    line: int
    blocks: list[Block] = field(default_factory=list)

    @property
    def size(self) -> float:
        return sum(size(one.text) for one in self.blocks)


def cut_markdown(text: str, name: str, passage_words: int) -> list[Piece]:
    """The passages of a Markdown document, titled "Document: Section".

    The document's title is that of its front matter or its first level-one heading, else `name`. A section shorter than a third of a passage
    joins its neighbours. Code keeps its characters; links and images are their text; comments, badges and HTML tags are left out.
    """
    front = _FRONT.match(text)
    sections, top = _sections(text, front.end() if front else 0)
    named = _FRONT_TITLE.search(front[2]) if front else None
    title = named[1] if named else top or name
    filled = [section for section in sections if section.blocks]
    for section in filled:
        section.path = section.path[1:] if section.path[:1] == (title,) else section.path
    headings = [section.path[-1] for section in sections if section.path]
    if not filled and headings:
        return [Piece(title, "\n".join(headings), sections[0].line)]
    found = []
    for group in _joined(filled, passage_words):
        blocks = group[0].blocks if len(group) == 1 else [one for section in group for one in _headed(section)]
        found += packed(_label(title, group), blocks, passage_words)
    return found


# ---------------------------------------------------------------- tokens to blocks


def _sections(text: str, begin: int) -> tuple[list[_Section], str]:
    """The document from `begin` on by headings, in order (text before the first has an empty path), and its first level-one heading."""
    env: dict[str, Any] = {}
    tokens = _PARSER.parse("\n" * text.count("\n", 0, begin) + text[begin:], env)
    found = [_Section((), 1)]
    path: list[tuple[int, str]] = []
    top = ""
    for kind, inside in _parts(tokens):
        line = (inside[0].map or [0])[0] + 1
        heading = " ".join(plain(inside[1].content, env).split()) if kind == "heading" else ""
        if kind == "heading" and not (inside[0].markup in "=-" and (len(heading.split()) > 12 or heading.endswith("."))):
            level = int(inside[0].tag[1:])
            top = top or (heading if level == 1 else "")
            path = [entry for entry in path if entry[0] < level] + ([(level, heading)] if heading else [])
            found.append(_Section(tuple(name for _, name in path), line))
        else:
            found[-1].blocks += _blocks(inside, env)
    return found, top


def _parts(tokens: Sequence[Token]) -> Iterator[tuple[str, Sequence[Token]]]:
    """What stands at the top of the document, part by part, with its name."""
    start = 0
    for number, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            yield token.type.removesuffix("_close"), tokens[start : number + 1]
            start = number + 1


def _blocks(part: Sequence[Token], env: dict[str, Any]) -> Iterator[Block]:
    """Paragraphs, code, tables and lists of a part; code and tables within a list are blocks of their own."""
    for _, group in groupby(_lines(part, env), key=lambda one: one.kind if one.kind in ("list", "table") else one):
        blocks = [one for one in group if one.text.strip()]
        if blocks:
            yield Block(blocks[0].kind, "\n".join(one.text for one in blocks), blocks[0].line)


def _lines(part: Sequence[Token], env: dict[str, Any]) -> Iterator[Block]:
    """As `_blocks`, with every row of a table and every item of a list by itself."""
    depth, mark, line = 0, "", 0
    tokens = iter(part)
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                depth += 1
            case "bullet_list_close" | "ordered_list_close":
                depth -= 1
            case "list_item_open":
                mark = f"{token.info}{token.markup} "
            case "table_open":
                yield from _table(tokens, line, env)
            case "inline":
                said = block(plain(token.content, env), line)
                yield said if not depth else Block("list", _indented(said.text, "  " * (depth - 1), mark), line)
                mark = ""
            case "fence":
                yield Block("code", f"{token.markup}{token.info}\n{token.content}{token.markup}", line)
            case "code_block":
                yield Block("code", token.content.rstrip("\n"), line)
            case "html_block":
                yield from _html(token.content, line, env)


def _table(tokens: Iterator[Token], line: int, env: dict[str, Any]) -> Iterator[Block]:
    """The rows of a table, each by itself, and the line below its head; takes the tokens up to the end of the table."""
    cells: list[str] = []
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        if token.type == "tr_open":
            cells = []
        elif token.type == "inline":
            cells.append(" ".join(plain(token.content, env).split()))
        elif token.type == "tr_close":
            yield Block("table", f"| {' | '.join(cells)} |", line)
        elif token.type == "thead_close":
            yield Block("table", "|" + "---|" * len(cells), line)
        elif token.type == "table_close":
            return


def _indented(text: str, indent: str, mark: str) -> str:
    """An item of a list, its mark in front; what follows the item's first paragraph has none."""
    first, *more = [line for line in text.split("\n") if line.strip()] or [""]
    return "\n".join([f"{indent}{mark or '  '}{first}", *(f"{indent}  {line}" for line in more)]) if first else ""


def _html(text: str, line: int, env: dict[str, Any]) -> Iterator[Block]:
    """What a reader sees of HTML: `<pre>` as code, the rest as paragraphs."""
    if re.match(r"(?i)\s*<pre\b", text):
        yield Block("code", html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", "", text)).strip("\n"), line)
        return
    yield block("\n".join(said.strip() for said in plain(seen(text), env).split("\n") if said.strip()), line)


# ---------------------------------------------------------------- sections to passages


def _joined(sections: list[_Section], passage_words: int) -> list[list[_Section]]:
    """Neighbouring sections together while one of them is shorter than a third of a passage and both fit in one."""
    groups: list[list[_Section]] = []
    for section in sections:
        before = sum(other.size for other in groups[-1]) if groups else 0.0
        if groups and min(before, section.size) < passage_words / 3 and before + section.size <= passage_words:
            groups[-1].append(section)
        else:
            groups.append([section])
    return groups


def _label(title: str, group: list[_Section]) -> str:
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


def _headed(section: _Section) -> list[Block]:
    return [*([Block("prose", section.path[-1], section.line)] if section.path else []), *section.blocks]
