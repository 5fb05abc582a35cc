"""Dividing questions between reward and report, and the bundled corpus."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.tasks.knowledge.split import bundled_corpus, divide
from selfedit.text import contains, normalise
from selfedit.types import Passage, Question


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
