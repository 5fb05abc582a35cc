"""What is read equals what was written.

1. Every record type comes back equal, floats to the last bit, whatever the text holds.
2. An unscored reward stays unscored, a diverged loss stays NaN.
3. A NaN where a score belongs is refused.
4. Records whose task or proposal is unknown, or which are there already, are refused.
5. An answer to a question of the other role is refused, and what reward questions were answered with is never among the results.
6. The tables answer questions in SQL.
7. A judge's reply is remembered at once, whatever becomes of its step, and a second judge is refused.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ledger import made_up

from selfedit.errors import LedgerError
from selfedit.ledger import Ledger, Reader
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Dropped,
    Example,
    JudgeReply,
    Prompt,
    Proposal,
    Question,
    Result,
    Reward,
    Selected,
    SelfEdit,
    Task,
    Turn,
    Update,
    Variant,
    Verdict,
)

text = st.text(max_size=20)
number = st.integers(0, 2**40)
score = st.floats(allow_nan=False) | st.none()
finite = st.floats(allow_nan=False, allow_infinity=False)
asked = st.lists(st.builds(Question, text, text, st.sampled_from(["given", "written", "cloze"]), text | st.none()), max_size=3).map(tuple)
verdicts = st.lists(st.builds(Verdict, text, st.sampled_from(["accept", "reject", "stop"]), text), max_size=2).map(tuple)
edits = st.builds(
    SelfEdit,
    text,
    st.lists(st.builds(Turn, st.builds(Prompt, text, st.booleans(), text), text, st.sampled_from(["stop", "length"])), max_size=3).map(tuple),
    st.lists(st.builds(Example, text, text), max_size=3).map(tuple),
    st.lists(st.builds(Dropped, text, text), max_size=2).map(tuple),
)


def answers_to(questions: tuple[Question, ...]) -> st.SearchStrategy[tuple[Answer, ...]]:
    """Some of the questions answered, perhaps several times: by adapters of different seeds."""
    answer = st.builds(Answer, st.sampled_from(questions), text, st.booleans() | st.none(), score) if questions else st.nothing()
    return st.lists(answer, max_size=4 if questions else 0).map(tuple)


@settings(max_examples=40, deadline=None)
@given(
    task=st.builds(Task, text, text, text, asked, asked),
    edit=edits,
    round=number,
    index=number,
    reward=st.builds(Reward, score, text, text, st.lists(st.tuples(text, finite), max_size=2).map(tuple)),
    data=st.data(),
    losses=st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    verdicts=verdicts,
    artifact=st.builds(Artifact, text, text, text),
    row=text,
    advantage=st.floats(allow_nan=False),
    metrics=st.dictionaries(text, st.floats(allow_nan=False), max_size=3),
)
def test_round_trip_of_every_record(task, edit, round, index, reward, data, losses, verdicts, artifact, row, advantage, metrics):
    rewarded, reported = data.draw(answers_to(task.reward_questions)), data.draw(answers_to(task.report_questions))
    proposal = Proposal(task.id, round, index, 3, edit)
    written = {
        Task: [task],
        Proposal: [proposal],
        Candidate: [Candidate(proposal, reward, rewarded, losses, 5, verdicts)],
        Selected: [Selected(task.id, round, index, advantage)],
        Variant: [Variant(index, None if round % 2 else round, row, task.title, "questions", 2, 3, 1e-3, edit.strategy, row)],
        Update: [Update(round, row, index, index, losses, metrics)],
        Result: [Result(row, task.id, reported, 7, seed=2), Result(row, task.id, (), 0), Result(row, task.id, rewarded, 0, "reward")],
        Verdict: list(verdicts),
        Artifact: [artifact],
    }
    with TemporaryDirectory() as folder:
        with made_up.begin(Path(folder) / "run") as ledger:
            for kind, records in written.items():
                assert ledger.step(kind.__name__, kind, lambda records=records: records) == records
        with Reader(Path(folder) / "run") as reader:
            for kind, records in written.items():
                assert reader.step(kind.__name__, kind) == records
            assert [reader.tasks(), reader.proposals(round), reader.candidates(), reader.selected(round)] == list(written.values())[:4]
            assert reader.results(row) + reader.results(row, "reward") == written[Result]
            assert [reader.variants(), reader.updates(), reader.verdicts(), reader.artifacts()] == [
                written[Variant],
                written[Update],
                list(verdicts),
                [artifact],
            ]


def test_unscored_and_diverged_survive(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger)
    with Reader(tmp_path / "run") as reader:
        candidate = reader.candidates(0)[1]
    assert candidate.reward == Reward(None, "likelihood", "diverged")
    assert candidate.losses[0] == 1 / 3
    assert math.isnan(candidate.losses[1])
    assert candidate.answers[0].gold_logprob is None


def test_a_nan_score_is_refused(tmp_path: Path):
    task = made_up.task(0)
    broken = Answer(task.report_questions[0], "", False, math.nan)
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("tasks", Task, lambda: [task])
        with pytest.raises(LedgerError, match="gold_logprob is NaN"):
            ledger.step("results", Result, lambda: [Result("base", task.id, (broken,))])
        assert not ledger.is_finished("results")


def test_records_that_do_not_fit_are_refused(tmp_path: Path):
    task = made_up.task(0)
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("tasks", Task, lambda: [task])
        with pytest.raises(LedgerError, match="'again' holds a Task that is recorded already"):
            ledger.step("again", Task, lambda: [task])
        with pytest.raises(LedgerError, match="'kept' holds a Selected"):
            ledger.step("kept", Selected, lambda: [Selected(task.id, 0, 0)])
        with pytest.raises(TypeError, match="a step of Selected got a Task"):
            ledger.step("kept", Selected, lambda: [task])
        with pytest.raises(TypeError, match="not int"):
            ledger.step("numbers", int, lambda: [1])


def test_an_answer_to_the_other_role_is_refused(tmp_path: Path):
    task = made_up.task(0)
    rewarded, reported = (made_up.answers(questions, True) for questions in (task.reward_questions, task.report_questions))
    proposal = made_up.proposal(task, 0, 0)
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("tasks", Task, lambda: [task])
        ledger.step("edits", Proposal, lambda: [proposal])
        with pytest.raises(LedgerError, match="'What is reward 0\\?', which is not one of the report questions of task 't0'"):
            ledger.step("results", Result, lambda: [Result("base", task.id, (*reported, *rewarded))])
        with pytest.raises(LedgerError, match="is not one of the reward questions"):
            ledger.step("base", Result, lambda: [Result("base", task.id, reported, 0, "reward")])
        with pytest.raises(LedgerError, match="is not one of the reward questions"):
            ledger.step("candidates", Candidate, lambda: [Candidate(proposal, Reward(1.0, "correctness"), reported)])


def test_answers_to_reward_questions_are_no_results(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger)
    with Reader(tmp_path / "run") as reader:
        assert {result.role for result in reader.results()} == {"report"}
        assert reader.accuracy("base") == 0.0  # all of its answers to reward questions are right
        assert len(reader.results("base", "reward")) == made_up.ROUNDS * made_up.TASKS
        assert reader.step("round-1/base", Result) == reader.results("base", "reward")[made_up.TASKS :]
    with made_up.begin(tmp_path / "other") as ledger:
        task = ledger.step("tasks", Task, lambda: [made_up.task(0)])[0]
        ledger.step("round-0/base", Result, lambda: [Result("base", task.id, made_up.answers(task.reward_questions, True), 0, "reward")])
    with Reader(tmp_path / "other") as reader:
        assert reader.rows() == reader.results() == []


def test_a_researcher_can_ask_in_sql(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger)
    db = sqlite3.connect(tmp_path / "run" / "ledger.db")
    by_arm = db.execute("SELECT row, avg(correct), count(*) FROM results JOIN answers ON result_id = results.id WHERE role = 'report' GROUP BY row")
    assert sorted(by_arm.fetchall()) == [("after", 1.0, 8), ("base", 0.0, 8)]
    first_loss = db.execute("SELECT json_extract(losses, '$[0]'), json_extract(losses, '$[1]') FROM candidates WHERE reward IS NULL LIMIT 1")
    assert first_loss.fetchone() == (1 / 3, "NaN")
    turns = db.execute("SELECT idx, count(*), sum(finish_reason = 'length') FROM turns JOIN proposals ON proposals.id = proposal_id GROUP BY idx")
    assert turns.fetchall() == [(0, 8, 8), (1, 16, 16), (2, 24, 24)]
    db.close()


def test_replies_survive_the_step_they_were_asked_in(tmp_path: Path):
    reply = JudgeReply("a1", "judge at example.org", "judge-1.7", "<data>…</data>", "CORRECT")

    def killed():
        ledger.remember(reply)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), made_up.begin(tmp_path / "run") as ledger:
        assert ledger.recall("a1") is None
        ledger.step("tasks", Task, killed)
    with Ledger.open(tmp_path / "run") as ledger:
        assert ledger.recall("a1") == reply and ledger.recall("a2") is None
        before = ledger.content_hash()
        ledger.remember(replace(reply, key="a2", reply="INCORRECT"))
        assert ledger.content_hash() != before
        for other in ({"judge": "another at example.org"}, {"served": "judge-1.8"}):
            with pytest.raises(LedgerError, match=r"was judged by judge at example\.org \(judge-1\.7\) .* two judges are never mixed"):
                ledger.remember(replace(reply, key="a3", **other))
        assert ledger.recall("a3") is None
