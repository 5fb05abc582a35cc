"""Markdown's inline markup as plain words: emphasis, links, images, entities, HTML tags. Code and formulas keep their characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import regex as re
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

LONGEST = 4_000
"""Longer runs of text are read in parts of this many characters, so that reading takes time in proportion to the length."""

_FORMULA = re.compile(r"\$\$.+?\$\$|\$(?=\S)[^$\n]*(?<=\S)\$(?!\d)", re.DOTALL)
_WIKI = re.compile(r"(?<![\w\])])\[\[(?=\p{L})(?:[^\[\]|]*\|)?([^\[\]|]+)\]\]|\[\^\d+\](?:: )?")
_NAME = re.compile(r"\w+")
_UNSEEN = ((re.compile("<!--"), re.compile("-->")), (re.compile(r"(?i)<(?:script|style)\b"), re.compile(r"(?i)</(?:script|style)\s*>")))
_LABEL = re.compile(r"^([\s\d.)>•+-]{0,8})\*\*([^*`]{1,60}[:.])\*\*(?=\w)")
_LONE = re.compile(r"^([\s\d.)>•+-]{0,8})\*\*(?=[\p{Lu}\d])|(?<=[^\s*])\*\*$")


def _formula(state: StateInline, silent: bool) -> bool:
    """`$…$` and `$$…$$` (as pandoc reads them) are text in which nothing is markup."""
    found = _FORMULA.match(state.src, state.pos) if state.src[state.pos] == "$" else None
    if found and not silent:
        state.push("formula", "", 0).content = found[0]
    state.pos = found.end() if found else state.pos
    return found is not None


def _wiki(state: StateInline, silent: bool) -> bool:
    """`[[page|text]]` says its text; a footnote's mark (`[^1]`) says nothing."""
    found = _WIKI.match(state.src, state.pos) if state.src[state.pos] == "[" else None
    if found and not silent:
        state.push("text", "", 0).content = found[1] or ""
    state.pos = found.end() if found else state.pos
    return found is not None


def document() -> MarkdownIt:
    """A parser of documents that leaves inline markup as it is, for `plain` to read."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.inline.ruler.before("link", "wiki", _wiki)
    return parser.disable("inline")


_DOCUMENT = document()
_EMPHASIS = MarkdownIt("zero").enable(["backticks", "emphasis"])


def plain(text: str, env: dict[str, Any] | None = None) -> str:
    """The words of a paragraph: links and images by their text (pictures without any words around them are left out), entities decoded.

    `env` holds the reference definitions of the document, as its parser left them.
    """
    return "".join(
        _words(tokens) for tokens in _read(_DOCUMENT, text, env or {}) if any(token.type in _SAYING and token.content.strip() for token in tokens)
    )


def seen(html: str) -> str:
    """HTML without what its reader does not see: comments, scripts and styles. What has no end stays."""
    for opening, closing in _UNSEEN:
        kept, at = [], 0
        while (start := opening.search(html, at)) and (end := closing.search(html, start.end())):
            kept.append(html[at : start.start()])
            at = end.end()
        html = "".join([*kept, html[at:]])
    return html


def without_emphasis(line: str) -> str:
    """The line without the marks of emphasis; everything else, also inline code, stays as it was written.

    Wider than CommonMark for what small models write: `**Label:**word`, and a `**` without its partner at the line's beginning or end.
    """
    rest = "".join(_words(tokens) for tokens in _read(_EMPHASIS, _LABEL.sub(r"\1\2 ", line), {}))
    return str(_LONE.sub(r"\1", rest))


def _read(parser: MarkdownIt, text: str, env: dict[str, Any]) -> Iterator[list[Token]]:
    """Inline tokens of the text, read in parts of at most `LONGEST` characters, cut at spaces where there are any."""
    at = 0
    while at < len(text):
        end = at + LONGEST
        end = end if end >= len(text) else max(text.rfind(" ", at, end), text.rfind("\n", at, end)) + 1 or end
        tokens: list[Token] = []
        parser.inline.parse(text[at:end], parser, env, tokens)
        yield tokens
        at = end


def _words(tokens: Sequence[Token]) -> str:
    found: list[str] = []
    opened: list[int] = []
    for token in tokens:
        if token.type in ("em_open", "strong_open"):
            opened.append(len(found))
            found.append(token.markup)
        elif token.type in ("em_close", "strong_close"):
            if _emphasis(found, opened):
                found[opened.pop()] = ""
            else:
                opened.pop()
                found.append(token.markup)
        else:
            found.append(_word(token))
    return "".join(found)


def _emphasis(found: Sequence[str], opened: Sequence[int]) -> bool:
    """Whether the mark that was opened last emphasises: not inside of a word or expression (`2**3**2`), not around a program's name (`__init__`)."""
    start = opened[-1]
    before = next((found[i][-1] for i in range(start - 1, max(-1, start - 9), -1) if found[i] and i not in opened[-9:]), "")
    glued = before.isdigit() or before.lower() != before.upper() or before in tuple("/\\=+<>^%$#@&|~`_*")
    return not glued and not (found[start] == "__" and _NAME.fullmatch("".join(found[start + 1 :])))


_SAYING = ("text", "text_special", "code_inline", "formula")


def _word(token: Token) -> str:
    match token.type:
        case "code_inline":
            pad = " " if "`" in token.content else ""
            return f"{token.markup}{pad}{token.content}{pad}{token.markup}"
        case "softbreak" | "hardbreak":
            return "\n"
        case "html_inline":
            return "\n" if token.content[:3].lower() == "<br" else ""
    return token.content
