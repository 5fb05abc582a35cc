"""Dividing questions between reward and report, and the bundled corpus."""

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.config import Documents
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.tasks.knowledge.split import bundled_corpus, divide
from selfedit.text import contains, near, normalise, says
from selfedit.types import Passage, Question

DEV = Path(__file__).parents[3] / ".." / "shared" / "data" / "squad_dev.jsonl"


def passage(*questions: Question, name: str = "p-0001") -> Passage:
    return Passage(name, "Title", "Context.", questions)


FACTS = passage(*(Question(f"{way} {fact}?", f"a{fact}", fact=str(fact)) for fact in range(6) for way in ("Who is", "Whose is")))


def test_facts_never_straddle() -> None:
    task = divide(FACTS, 0.5, seed=0)
    reward, report = ({question.fact for question in side} for side in (task.reward_questions, task.report_questions))
    assert len(reward) == len(report) == 3 and not reward & report
    assert len(task.reward_questions) == len(task.report_questions) == 6
    assert (task.id, task.title, task.context) == (FACTS.id, FACTS.title, FACTS.context)


@pytest.mark.parametrize(("share", "reported"), [(0.01, 1), (0.5, 3), (0.34, 2), (0.99, 5)])
def test_share_counts_facts_and_leaves_one_on_each_side(share: float, reported: int) -> None:
    assert len(divide(FACTS, share, seed=0).report_questions) == 2 * reported


def test_depends_on_seed_and_passage_only() -> None:
    assert divide(FACTS, 0.5, 0) == divide(FACTS, 0.5, 0)
    splits = {divide(FACTS, 0.5, seed).report_questions for seed in range(20)}
    assert len(splits) > 5
    assert divide(passage(*FACTS.questions, name="p-0002"), 0.5, 0).report_questions != divide(FACTS, 0.5, 0).report_questions


def test_few_questions() -> None:
    one = Question("Who?", "Ann")
    assert divide(passage(), 0.5, 0).report_questions == ()
    assert divide(passage(one), 0.5, 0).report_questions == (one,)
    two = divide(passage(one, Question("Where?", "Isk")), 0.01, 0)
    assert len(two.report_questions) == len(two.reward_questions) == 1


_QUESTIONS = st.builds(
    Question,
    st.sampled_from(["Who?", "who", "Where is it?", "where is  it", "When?"]),
    st.sampled_from(["x", "X.", "y"]),
    fact=st.sampled_from([None, "1", "2", "3"]),
)


@given(st.lists(_QUESTIONS, max_size=8), st.floats(0.01, 0.99), st.integers(0, 5))
def test_nothing_is_lost_and_nothing_is_on_both_sides(questions: list[Question], share: float, seed: int) -> None:
    task = divide(passage(*questions), share, seed)
    assert sorted(map(repr, task.reward_questions + task.report_questions)) == sorted(map(repr, questions))
    for a in task.reward_questions:
        for b in task.report_questions:
            assert a.fact is None or a.fact != b.fact
            assert normalise(a.question) != normalise(b.question)
            assert normalise(a.answer) != normalise(b.answer)
    assert not questions or task.report_questions
    assert (
        len({normalise(q.answer) for q in questions}) == 1 or task.reward_questions or any(q.joined for q in task.report_questions) or not questions
    )


@pytest.mark.parametrize(
    ("questions", "why"),
    [
        ((Question("Who built it?", "Ann Lee"), Question("By whom was it built?", "ann lee.")), "same answer as"),
        ((Question("Who built it?", "A. Lee", aliases=("Ann Lee",)), Question("Name the builder.", "Lee", aliases=("Ann Lee",))), "same answer as"),
        ((Question("Who built it?", "Ann Lee", fact="1"), Question("Was Bob its builder?", "no", fact="1")), "same fact as"),
        (
            (Question("Who built the tall red tower?", "Ann Lee"), Question("Which builder built the tall red tower?", "Lee")),
            "much the same question and answer",
        ),
        ((Question("When did the long war end?", "in May"), Question("When did the long war end", "1847")), "same words as"),
        (
            (Question("When did the long bitter war end?", "in May"), Question("When did the long and bitter war end?", "1847")),
            "nearly the same words as",
        ),
    ],
)
def test_two_questions_for_the_same_never_straddle(questions: tuple[Question, Question], why: str) -> None:
    """And each says with which other it was joined, and why."""
    others = tuple(Question(f"What is part {number} made of?", f"wood{number}") for number in range(3))
    for seed in range(8):
        task = divide(passage(*questions, *others), 0.5, seed)
        assert sum(set(questions) <= set(side) for side in (task.reward_questions, task.report_questions)) == 1
        joined = [q.joined for q in (*task.reward_questions, *task.report_questions) if q in questions]
        assert all(reason.startswith(why) for reason in joined)
        assert sorted(reason.partition(": ")[2] for reason in joined) == sorted(q.question for q in questions)
        assert not any(q.joined for q in (*task.reward_questions, *task.report_questions) if q not in questions)


@pytest.mark.parametrize(
    "questions",
    [
        (Question("Who built the mill on the brook?", "Ann Lee"), Question("When was the mill on the brook built?", "1688")),
        (Question("Is the mill old?", "Yes"), Question("Has the brook a weir?", "yes")),
        (Question("Who is it?", "Ann Lee"), Question("Where is it?", "Isk")),
        (Question("What is the name of Title's builder?", "Ann Lee"), Question("What is the name of Title's owner?", "Bob Lee")),
    ],
)
def test_different_facts_are_not_joined(questions: tuple[Question, Question]) -> None:
    task = divide(passage(*questions), 0.5, 0)
    assert len(task.reward_questions) == len(task.report_questions) == 1 and not task.reward_questions[0].joined


def test_no_squad_answer_is_asked_for_on_both_sides() -> None:
    """The thresholds were chosen on other articles (squad_train); with the questions of one kind as facts, 65 of 372 shared an answer."""
    if not DEV.exists():
        pytest.skip("SQuAD passages are not beside the repository (../shared/data)")
    reported = alike = 0
    for its in read_documents([DEV], Documents()):
        task = divide(its, 0.5, 0)
        answers = {normalise(q.answer) for q in task.reward_questions}
        assert task.reward_questions and task.report_questions
        for question in task.report_questions:
            reported += 1
            assert normalise(question.answer) not in answers
            close = [other for other in task.reward_questions if near(question.question, other.question, share=0.5)]
            alike += any(says(question.answer, other.answer) or says(other.answer, question.answer) for other in close)
    assert reported > 350 and alike < 0.01 * reported


# ---------------------------------------------------------------- the bundled corpus

bundled = pytest.mark.skipif(not resources.files("selfedit").joinpath("data/corpus.jsonl").is_file(), reason="the bundled corpus is not there yet")


@bundled
def test_corpus_is_large_enough_and_in_two_parts() -> None:
    train, heldout = bundled_corpus("train"), bundled_corpus("heldout")
    passages = train + heldout
    assert len(passages) >= 40 and len(train) >= 20 and len(heldout) >= 10
    assert len({passage.title for passage in passages}) == len({passage.id for passage in passages}) == len(passages)


@bundled
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_corpus_questions_can_be_answered_from_the_context_only(split: str) -> None:
    for its in bundled_corpus(split):  # type: ignore[arg-type]
        assert len(its.questions) >= 6, its.title
        for question in its.questions:
            assert question.answer.lower() in its.context.lower(), (its.title, question)
            assert not contains(question.question, question.answer), (its.title, question)


@bundled
def test_corpus_gives_every_task_both_kinds_of_questions() -> None:
    for its in bundled_corpus("train") + bundled_corpus("heldout"):
        task = divide(its, 0.5, 0)
        assert len(task.reward_questions) >= 2 and len(task.report_questions) >= 2


def test_what_nobody_knows_is_never_reported_on() -> None:
    """Nor is another wording of it, whose answer is known."""
    unknown = (Question("Who is it?", "", fact="7"), Question("Who was it?", "known", fact="7"))
    for seed in range(10):
        task = divide(passage(*FACTS.questions, *unknown), 0.99, seed)
        assert set(unknown) < set(task.reward_questions) and len(task.report_questions) == 2 * 5
    assert divide(passage(*unknown), 0.5, 0).report_questions == ()
