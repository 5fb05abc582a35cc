from hypothesis import given
from hypothesis import strategies as st

from selfedit.tasks.knowledge.markdown import cut_markdown, cut_text, size

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
