import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.config import Documents
from selfedit.tasks.knowledge.cloze import cloze
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.tasks.knowledge.questions import agree, open_book, parse_questions, writing_prompts
from selfedit.tasks.knowledge.split import divide
from selfedit.text import contains, normalise
from selfedit.types import Passage

MILL = Passage(
    "mill-0001",
    "Corve Mill",
    "Corve Mill was built by Edda Stannis in 1688. Its wheel is 9 metres wide and made of larch. In the great flood of 12 March 1911 the mill lost "
    "its roof. Today Corve Mill belongs to the Guild of Saint Orla, which grinds 300 tonnes of spelt a year.",
)
DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "squad_dev.jsonl"


def test_good_questions_pass_with_the_sentence_as_their_fact() -> None:
    questions, dropped = parse_questions(
        "Question: Who built Corve Mill?\nAnswer: Edda Stannis.\nQ: According to the passage, when was it built?\nA: 1688", MILL
    )
    assert not dropped
    assert [(q.question, q.answer, q.kind) for q in questions] == [
        ("Who built Corve Mill?", "Edda Stannis", "written"),
        ("When was it built?", "1688", "written"),
    ]
    assert {q.fact for q in questions} == {"Corve Mill was built by Edda Stannis in 1688."}


def test_both_kinds_of_question_know_a_statement_by_the_same_words() -> None:
    """So that what one asks for in the reward, the other does not ask for in the report."""
    mill = Passage(
        "m", "Mill", "Repairs:\n\n- It was repaired in 1987 by Ida Farrow\n  of the Society of Lamplighters.\n- The roof is of slate from Penrhyn."
    )
    [written], _ = parse_questions("Question: Who repaired it?\nAnswer: Ida Farrow", mill)
    filled = cloze(mill, 4, 0)
    assert written.fact in {question.fact for question in filled if question.answer != "Penrhyn"}
    for seed in range(5):
        task = divide(replace(mill, questions=(written, *filled)), 0.5, seed)
        assert not {q.fact for q in task.reward_questions} & {q.fact for q in task.report_questions}


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who owns Corve Mill?", "the Crown", "answer not in the passage"),
        ("Is Corve Mill old?", "Yes", "yes or no"),
        ("Did it lose its roof in 1911?", "roof", "yes or no"),
        ("Who owns the Guild of Saint Orla?", "Guild of Saint Orla", "answer stands in the question or the title"),
        ("Which mill lost its roof?", "Corve Mill", "answer stands in the question or the title"),
        ("What is the passage about?", "spelt", "asks about the passage, not about its topic"),
        ("What happened in the flood?", "In the great flood of 12 March 1911 the mill lost its roof", "answer too long"),
        ("Who designed the Quillon Lantern?", "Maren Oxtoby", "copied from the prompt's example"),
        ("What is made?", "...", "no answer"),
        ("Why?", "larch", "not a question"),
        ("It is made of", "larch", "not a question"),
    ],
)
def test_unfit_questions_are_dropped_with_the_reason(question: str, answer: str, reason: str) -> None:
    questions, dropped = parse_questions(f"Question: {question}\nAnswer: {answer}", MILL)
    assert not questions and [d.reason for d in dropped] == [reason]


def test_repetition_is_dropped() -> None:
    text = "What is the wheel made of?\nAnswer: larch\n" * 5
    questions, dropped = parse_questions(text, MILL)
    assert len(questions) == 1 and [d.reason for d in dropped] == ["repetition"] * 4


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(["Question:", "Answer:", "who", "1688", "?", "\n", " ", "larch", "**", "What is", "1."])).map(" ".join)
    )
)
def test_parser_never_raises_and_passes_only_what_the_text_answers(text: str) -> None:
    questions, dropped = parse_questions(text, MILL)
    assert all(contains(MILL.context, q.answer) and q.question.strip() for q in questions)
    assert all(d.text.strip() and d.reason for d in dropped)
    assert len({normalise(q.question) for q in questions}) == len(questions)


def test_prompts_show_the_passage_and_end_where_the_answer_begins() -> None:
    for prompt in writing_prompts(MILL):
        assert prompt.endswith(f"{MILL.context}\n\nQuestion:") and "Quillon" in prompt
    assert len(set(writing_prompts(MILL))) == 3
    assert open_book(MILL, "Who built it?").endswith("Question: Who built it?\nAnswer:")


def test_agreement_is_a_majority() -> None:
    assert agree(["It was Edda Stannis", "Edda Stannis", "no idea"], "Edda Stannis")
    assert not agree(["Edda Stannis", "Orla"], "Edda Stannis")
    assert not agree([], "Edda Stannis")


def test_written_questions_may_end_with_any_question_mark() -> None:
    mill = replace(MILL, context="بُنيت الطاحونة عام ١٨٧٤ على يد توبياس.")
    [question], _ = parse_questions("متى بُنيت الطاحونة القديمة؟\nAnswer: ١٨٧٤", mill)
    assert question.answer == "١٨٧٤"


# ---------------------------------------------------------------- cloze


def test_cloze_asks_for_names_numbers_and_dates() -> None:
    questions = cloze(MILL, 8, seed=0)
    assert {"Edda Stannis", "1688", "12 March 1911", "Guild of Saint Orla", "300"} <= {q.answer for q in questions}
    by = {q.answer: q for q in questions}
    assert by["1688"].question == "Fill in the blank: Corve Mill was built by Edda Stannis in ____."
    assert by["1688"].fact == by["Edda Stannis"].fact == "Corve Mill was built by Edda Stannis in 1688."
    assert all(q.kind == "cloze" for q in questions)


def test_cloze_spreads_over_sentences_first() -> None:
    assert len({q.fact for q in cloze(MILL, 4, seed=1)}) == 4
    assert cloze(MILL, 4, seed=1) == cloze(MILL, 4, seed=1)
    assert len({tuple(cloze(MILL, 2, seed)) for seed in range(10)}) > 1


def test_cloze_is_not_answered_by_title_or_sentence() -> None:
    hinted = Passage("x-1", "Edda Stannis", "The mill was built by Edda Stannis. Some say 40 men came, others that 40 women came with them.")
    assert not {q.answer for q in cloze(hinted, 8, 0)} & {"Edda Stannis", "40"}


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (
            "Der Kranturm wurde am 3. Mai 1731 von Jost Ammerling gebaut. Sein Seil hat 48 Meter und hält noch heute.",
            {"3. Mai 1731", "Jost Ammerling", "48"},
        ),
        ("Башня у моста была построена 3 мая 1731 года мастером. Её колокол весит 48 пудов и звонит утром.", {"3 мая 1731", "48"}),
        ("بُني البرج عند الجسر عام ١٧٣١ على يد يونس الحداد. يزن جرسه ٤٨ رطلا ويدق صباحا.", {"١٧٣١", "٤٨"}),
        ("पुल के पास की मीनार 1731 में रघुनाथ ने बनवाई थी। इसकी घंटी ४८ किलो की है और सुबह बजती है।", {"1731", "४८", "रघुनाथ"}),
        ("橋の塔は1731年に町の人々によって建てられた。鐘の重さは48キロで、毎朝鳴らされる。", {"1731"}),
    ],
)
def test_cloze_in_other_languages_blanks_whole_words(text: str, answers: set[str]) -> None:
    found = cloze(Passage("x-1", "Titel", text), 12, 0)
    assert answers <= {q.answer for q in found}
    for q in found:
        after = q.question.partition("____")[2][:1]
        assert not after or unicodedata.category(after)[0] != "M"


DOCUMENT = """# Frob

| Flag | Default | Meaning |
|---|---|---|
| `--retries` | 7 | attempts before giving up |
| `--wait` | 45 s | pause between attempts |

- **2.14.3** was released on 12 March 2024 by Dana Whitlock

```ini
port = 8443
region = eu-north-1
```
"""


def test_cloze_reads_lists_tables_and_code(tmp_path: Path) -> None:
    (tmp_path / "frob.md").write_text(DOCUMENT)
    (its,) = read_documents([tmp_path / "frob.md"], Documents())
    questions = {q.question.removeprefix("Fill in the blank: "): q.answer for q in cloze(its, 20, 0)}
    assert questions["Flag: `--retries`; Default: ____; Meaning: attempts before giving up"] == "7"
    assert questions["2.14.3 was released on ____ by Dana Whitlock"] == "12 March 2024"
    assert questions["port = ____"] == "8443"
    assert not any("____: " in question for question in questions)


def test_prose_without_names_and_numbers_is_asked_for_its_rare_words() -> None:
    plain = Passage("x-1", "Gears", "The simplest gears give events of fixed length and make the engine rotate in only one direction.")
    assert {q.answer for q in cloze(plain, 8, 0)} == {"simplest", "direction"}


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(["Ann Lee", "in 1911", "`x.y`", "| a |", "\n", "- ", ". ", "The ", "was seen", "mill", "|---|", "10 %"])).map(
            " ".join
        ),
    )
)
def test_cloze_never_raises_and_blanks_rebuild_the_sentence(text: str) -> None:
    questions = cloze(Passage("x-1", "Title", text), 6, 0)
    assert len(questions) <= 6
    assert len({normalise(q.answer) for q in questions}) == len(questions)
    for q in questions:
        assert q.question.removeprefix("Fill in the blank: ").replace("____", q.answer, 1) == q.fact or "____" in (q.fact or "")
        assert not contains(q.question.replace("____", " "), q.answer)


def test_cloze_finds_enough_in_encyclopedia_prose() -> None:
    if not DATA.exists():
        pytest.skip("SQuAD passages are not beside the repository (../shared/data)")
    counts = [len(cloze(its, 8, 0)) for its in read_documents([DATA], Documents())]
    assert sum(count >= 4 for count in counts) >= 0.95 * len(counts)
