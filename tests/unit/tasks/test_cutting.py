"""Documents into passages.

1. Pieces are even, end at the borders of the text, and lose nothing.
2. Code, inline code and formulas keep their characters exactly; marks of emphasis, links, entities and tags become what a reader sees.
3. Titles come from headings alone.
4. Reading takes time in proportion to the length, whatever the text.
5. A word that was divided at a line's end is whole where that is safe.
"""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.tasks.knowledge import markdown, passages
from selfedit.tasks.knowledge.passages import size

GUIDE = """---
title: "Frob guide"
---
[![CI](https://x/y.svg)](https://z)
<p align="center">

Intro with a [link](https://foo.bar/baz) and **strong** words. <!-- not this -->

## Options

| Flag | Default |
|---|---|
| `--retries` | 7 |

## Install

```bash
# not a heading
pip install frob
```

Changes
-------
- 2.14 by Dana,
- 2.13: removed the old mode, which nobody had used for
  many years

### Older
None.
"""


def cut_markdown(text: str, name: str, passage_words: int) -> list[tuple[str, str]]:
    return [(piece.title, piece.context) for piece in markdown.cut_markdown(text, name, passage_words)]


def cut_text(text: str, name: str, passage_words: int) -> list[tuple[str, str]]:
    return [(piece.title, piece.context) for piece in passages.cut_text(text, name, passage_words)]


def words(count: int, stem: str = "w") -> str:
    return " ".join(f"{stem}{number}" for number in range(count))


def test_short_sections_join_and_name_themselves() -> None:
    ((title, context),) = cut_markdown(GUIDE, "guide", 150)
    assert title == "Frob guide: Options, Install, Changes, Older"
    assert "Intro with a link and strong words." in context and "not this" not in context and "x/y.svg" not in context and "<p" not in context
    assert "Install\n\n```bash\n# not a heading\npip install frob\n```" in context
    assert "which nobody had used for many years" in context and "by Dana,\n- 2.13" in context


def test_long_sections_stand_alone_with_their_path() -> None:
    text = f"# Mill\n\n{words(80)}\n\n## Wheel\n\n{words(90)}\n\n### Size\n\n{words(100)}\n\n## Roof\n\n{words(20)}"
    assert [title for title, _ in cut_markdown(text, "file", 150)] == ["Mill", "Mill: Wheel", "Mill: Size, Roof"]
    assert [title for title, _ in cut_markdown(text, "file", 100)] == ["Mill", "Mill: Wheel", "Mill: Wheel: Size", "Mill: Roof"]


def test_title_falls_back_to_the_file_name() -> None:
    assert cut_markdown("Just text.", "old mill", 150) == [("old mill", "Just text.")]
    assert cut_text("Just text.\n\nMore.", "old mill", 150) == [("old mill", "Just text.\n\nMore.")]
    assert cut_text("The Old Mill\n\nIt stands.", "file", 150) == [("The Old Mill", "It stands.")]


def test_long_table_repeats_its_head() -> None:
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| row {number} | {words(8)} |" for number in range(30))
    pieces = cut_markdown(table, "t", 100)
    assert len(pieces) > 2 and all(context.startswith("| a | b |\n|---|---|\n| row") for _, context in pieces)
    assert "\n".join(context for _, context in pieces).count("row ") == 30


def test_hard_wrapped_lines_are_joined_and_verse_is_not() -> None:
    wrapped = "This line was wrapped at some forty characters\nby an old editor."
    assert cut_text(wrapped, "t", 150)[0][1] == wrapped.replace("\n", " ")
    assert cut_text("O mill\nof stone", "t", 150)[0][1] == "O mill\nof stone"


def test_pieces_are_even_and_end_with_sentences() -> None:
    prose = " ".join(f"{words(9, f'S{number}x')}." for number in range(100))  # 900 words
    pieces = [context for _, context in cut_text(prose, "t", 150)]
    assert len(pieces) == 6 and all(130 <= len(piece.split()) <= 170 and piece.endswith(".") for piece in pieces)


def test_text_without_borders_is_torn_by_force() -> None:
    for text in ("x" * 50_000, words(2000), "字" * 5000):
        assert all(size(context) <= 300 for _, context in cut_text(text, "t", 150))


@given(st.text(), st.integers(20, 60))
def test_plain_text_loses_nothing(text: str, passage_words: int) -> None:
    pieces = cut_text(text, "name", passage_words)
    title = pieces[0][0] if pieces and pieces[0][0] != "name" else ""
    assert "".join((title + " ".join(piece for _, piece in pieces)).split()).replace("=", "").replace("-", "") == "".join(text.split()).replace(
        "=", ""
    ).replace("-", "")


_PIECES = st.sampled_from(
    ["# A\n", "## B\n", "\n", "\n\n", "```\n", "| a |\n", "|---|\n", "- item\n", "text one two. ", "===\n", "---\n", "<!--", "-->", "[x](y)"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.integers(20, 60))
def test_markdown_never_raises_and_pieces_are_bounded(text: str, passage_words: int) -> None:
    for title, context in cut_markdown(text, "name", passage_words):
        assert title.strip() and context.strip()
        assert size(context) <= 3 * passage_words + 40


# ---------------------------------------------------------------- 2. what a reader sees


def read(markdown: str) -> str:
    return "\n\n".join(context for _, context in cut_markdown(markdown, "name", 10_000))


@pytest.mark.parametrize(
    "kept",
    [
        "Call `__init__` and `a**b**c`, `user__x__y`, `[^a-z](x)`, `items[0](v)`, `&amp;`, `<b>`, `\\*`, `[[x|y]]`.",
        "Use `` a`b `` and ``` `` ```.",
        "It is 2**3**2, so a**b**c and x**2 + y**2 and 5*3*2.",
        "The files __init__.py and __main__.py and __FILE__ are read.",
        "The paths /*.py and /*.txt match, and snake_case_names stay.",
        "It flows as $Q = C_d A \\sqrt{2 g h}\\,$ and $$a_1*b*c \\\\ [x](y)$$ here.",
        "It costs $5 or $6 today.",
        "```c\n/* **a** __b__ */\n# not a title\n\n  x = a[i](b); // &lt; <b>\n```",
        "~~~~\n```\n~~~~",
    ],
)
def test_code_and_names_of_programs_keep_their_characters(kept: str) -> None:
    assert read(kept) == kept


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("A **strong**, __very strong__ and *soft* word, ***both***.", "A strong, very strong and soft word, both."),
        ("**S**elf-adapting, (**x**) and 这是**重要**的。", "Self-adapting, (x) and 这是重要的。"),
        ('In [Isk](https://e.org/Isk_(river)), by [Oda Finch](<https://e.org/Oda Finch> "who").', "In Isk, by Oda Finch."),
        ("See [the weir][1], [gate] and <https://e.org/?id=3>.\n\n[1]: https://e.org/w\n[gate]: g.md", "See the weir, gate and https://e.org/?id=3."),
        ("By [[Oda Finch|the smith]] of [[Isk]].[^1]", "By the smith of Isk."),
        ("Press ![Save](s.png) now.\n\n[![CI](c.svg)](https://z) ![x](y.png)\n\n![](z.png)", "Press Save now."),
        ("Tobias &amp; sons, 3&nbsp;&lt;&nbsp;4, caf&eacute;.", "Tobias & sons, 3\u00a0<\u00a04, café."),
        ("It <b>is</b> H<sub>2</sub>O.<br>New <!-- not\nthis --> line.", "It is H2O.\nNew  line."),
        ('<div class="x">The weir was **raised** in <b>1847</b>.</div>', "The weir was raised in 1847."),
        ("<details>\n<summary>Gate</summary>\n\nIt is of oak.\n\n</details>", "Gate\n\nIt is of oak."),
        ("<!-- a <!-- b -->\n\n<script>\nvar x = 1;\n</script>\n\n<style>\np {}\n</style>\n\nSeen.", "Seen."),
        ("<pre>\na &lt; **b**\n</pre>", "a < **b**"),
        ("Seen.\n\n<!-- without an end", "Seen.\n\n<!-- without an end"),
        ("> It is *said*\n> so.", "It is said\nso."),
        (
            "1. One\n2. Two\n   - inner\n\n   more\n\n   ```\n   x = 1\n   ```\n3. Three",
            "1. One\n2. Two\n  - inner\n  more\n\n```\nx = 1\n```\n\n3. Three",
        ),
        ("a | b\n--|:-:\n*1* | [2](x)\n3 |", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |  |"),
        ("---\nNo head.\n---\n", "No head."),
    ],
)
def test_markup_becomes_what_a_reader_sees(written: str, seen: str) -> None:
    assert read(written) == seen


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Intro.\n\n```bash\n# install it first\n```\n\nMore.", "name"),
        ("Intro.\n\n    # in code\n\n## Usage\n\nText.", "name: Usage"),
        ("<!--\n# old title\n-->\nIntro.", "name"),
        ("> # quoted\n\n- # listed\n\nIntro.", "name"),
        ("# The `weir` of **Isk** &amp; [Tolmet](x) #\n\nIntro.", "The `weir` of Isk & Tolmet"),
        ("The Weir\n===\n\nIntro.", "The Weir"),
        ("#\n\n# Weir\n\nIntro.", "Weir"),
        ("It was raised in 1847 and has stood there in every flood since then, they say.\n---\nMore.", "name"),
        ("---\ntags: [a]\ntitle: 'Old weir'\n---\n# Weir\n\nIntro.", "Old weir: Weir"),
        ('+++\ntitle = "Old weir"\n+++\nIntro.', "Old weir"),
    ],
)
def test_titles_come_from_headings_alone(text: str, title: str) -> None:
    assert {found for found, _ in cut_markdown(text, "name", 150)} == {title}


# ---------------------------------------------------------------- 4. time

N = 80_000


@pytest.mark.parametrize(
    "text",
    [
        *("# a" + " " * N + "b", "a" + " " * N + "\n" + " " * N + "|"),
        *(
            mark * (N // len(mark))
            for mark in ("**a ", "__a ", "*a _b ", "[", "![", "[a](", "[[a|", "[^1", "<", "<a ", "<!-- ", "`", "$a ", "&#x", "|", "> - ", "1. ")
        ),
        *(
            line * (N // len(line))
            for line in ("A. ", "- a\n", "a-\n", "<!--\n\n", "```\n", "|a|b|\n|-|-|\n", "It is so. ", "---\na: b\n", "<script \n")
        ),
    ],
    ids=lambda text: repr(text[:8]),
)
def test_no_text_takes_long(text: str) -> None:
    """A few times more than the slowest takes on two busy cores; with what grows by the square, it would be minutes."""
    start = time.process_time()
    cut_markdown(text, "name", 150)
    cut_text(text, "name", 150)
    assert time.process_time() - start < 8


def test_long_paragraphs_are_read_to_their_end() -> None:
    assert read("The **weir** is [old](x) &amp; wide. " * 2000) == " ".join(["The weir is old & wide."] * 2000)


# ---------------------------------------------------------------- 5. divided words


@pytest.mark.parametrize(
    ("before", "after", "elsewhere", "joined"),
    [
        ("was incor-", "porated in Isk", "", "was incorporated in Isk"),
        ("was re-", "paired in Isk", "They repaired it.", "was repaired in Isk"),
        ("a well-", "known weir", "", "a well-known weir"),
        ("a tide-", "mill of oak", "The tide-mill stands.", "a tide-mill of oak"),
        ("of larch-", "wood and stone", "It is of wood.", "of larch-wood and stone"),
        ("in pre-", "and post-war times", "", "in pre- and post-war times"),
        ("of the Anglo-", "Saxon kings", "", "of the Anglo- Saxon kings"),
        ("from 1847-", "1911 and on", "", "from 1847- 1911 and on"),
        ("the naviga\u2010", "tion works", "", "the navigation works"),
    ],
)
def test_a_word_divided_at_a_lines_end(before: str, after: str, elsewhere: str, joined: str) -> None:
    start = "The old weir below the bridge of Tolmet "
    ((_, context),) = cut_text(f"{start}{before}\n{after}.\n\n{elsewhere}", "name", 150)
    assert context.split("\n\n")[0] == f"{start}{joined}."
    assert f"{before}\n{after}" in cut_text(f"{before}\n{after}", "name", 150)[0][1]  # short lines are not wrapped
