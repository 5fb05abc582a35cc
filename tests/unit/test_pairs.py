import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.text.pairs import Pair, read_pairs


@pytest.mark.parametrize(
    "text",
    [
        "Question 1: Who built it?\nAnswer: Ann",
        "**Question 1:** Who built it?\n**Answer:** Ann",
        "Q1. Who built it?\nA1. Ann",
        "Q: Who built it? A: Ann",
        "1. Who built it?\n   Ann",
        "1. **Who built it?**\n   - Ann",
        "Question 1\nWho built it?\nAnswer:\nAnn",
        "### Question 1: Who built it?\n\n**Answer**: Ann",
        "- Question: Who built it? Answer: Ann",
        "1. Question: Who built it?\n2. Answer: Ann",
        " Who built it?\nAnswer: Ann",  # the prompt ended in "Question:"
        "Question: Who built it?\n\nThe answer: Ann",
        "The question is: Who built it? The answer is: Ann",
        "Q) Who built it?\r\nA) Ann",
        "**Question 1:**Who built it?\n**Answer:**Ann",
        "**Question 1: Who built it?\nAnswer: Ann**",
        "1. __Who built it?__\n   *Ann*",
    ],
)
def test_every_way_of_writing_a_pair(text: str) -> None:
    assert read_pairs(text) == ([Pair("Who built it?", "Ann")], [])


@pytest.mark.parametrize("code", ["`__init__.py`", "__init__.py", "2**3**2", "`a**b**c`", "user__login__log", "`*.py`"])
def test_names_of_programs_stay_as_they_are(code: str) -> None:
    assert read_pairs(f"**Question:** What is {code} for?\nAnswer: for {code}")[0] == [Pair(f"What is {code} for?", f"for {code}")]


@pytest.mark.parametrize("question", ["Who built it?", "谁建的？", "من بناها؟"])
def test_question_marks_of_other_scripts(question: str) -> None:
    assert read_pairs(f"{question}\nAnn") == ([Pair(question, "Ann")], [])


def test_a_question_without_a_question_mark_is_known_by_its_answer() -> None:
    assert read_pairs("Name the river\nAnswer: Isk")[0] == [Pair("Name the river", "Isk")]


def test_several_on_one_line() -> None:
    pairs, dropped = read_pairs("Question: Why? Answer: rain. Question: Who? Answer: Ann")
    assert pairs == [Pair("Why?", "rain."), Pair("Who?", "Ann")] and not dropped


def test_an_unanswered_list_is_not_answered_by_its_next_number_or_the_next_passage() -> None:
    assert read_pairs("1. Who built it?\n2. Please be brief.\n")[0] == []
    assert read_pairs("Who built it?\n\nPassage:\nAnn")[0] == []


def test_what_is_left_over_is_named() -> None:
    pairs, dropped = read_pairs("Here you are:\nQ: Who?\nA: Ann\nAnswer: lost\nAnd more.\nQ: When?\nQ: Where?\nA: here\nPassage:\nmore\nQ: x?")
    assert pairs == [Pair("Who?", "Ann"), Pair("Where?", "here")]
    assert [(d.text, d.reason) for d in dropped] == [
        ("Here you are:", "neither a question nor an answer"),
        ("Answer: lost", "answer without a question"),
        ("And more.", "neither a question nor an answer"),
        ("When?", "question without an answer"),
        ("Passage:\nmore\nQ: x?", "written after the end of the list"),
    ]


_PIECES = st.sampled_from(
    ["Question 1:", "Q:", "A:", "Answer:", "**", "\n", "\n\n", "?", " ", "1. ", "- ", "Who", "Ann", "Passage:", "#", "_", "。", "？", "\x85"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)))
def test_never_raises_and_never_gives_empty_halves(text: str) -> None:
    pairs, dropped = read_pairs(text)
    assert all(pair.question.strip() and pair.answer.strip() for pair in pairs)
    assert all(piece.text.strip() and piece.reason for piece in dropped)
    assert sum(len(pair.question + pair.answer) for pair in pairs) <= len(text)


@given(st.lists(st.sampled_from(["Q: who{}?", "A: ann{}", "chat{}", "3. what{}?", "Question {}:", "", "where{}? A: there{}"])))
def test_every_word_is_used_or_recorded(lines: list[str]) -> None:
    text = "\n".join(line.format(*[f"x{number}"] * 2) for number, line in enumerate(lines))
    pairs, dropped = read_pairs(text)
    everything = " ".join([*(f"{pair.question} {pair.answer}" for pair in pairs), *(piece.text for piece in dropped)])
    for number, line in enumerate(lines):
        if line and not line.startswith("Question"):
            assert f"x{number}" in everything
