"""What is read equals what was written.

1. Every record type comes back equal, floats to the last bit, whatever the text holds.
2. An unscored reward stays unscored, a diverged loss stays NaN.
3. A NaN where a score belongs is refused, and so is a value that its type does not take: the message names step, record and field.
4. Records whose task or proposal is unknown, or which are there already, are refused, and nothing of their step is kept.
5. An answer to a question of the other role is refused, and what reward questions were answered with is never among the results.
6. The views answer questions in SQL, one for each type of record; NULL is what was not measured.
7. A judge's reply is remembered at once, whatever becomes of its step, and a second judge is refused.
8. A field that a later version adds has its default in older records; a record with a field that is not known is refused in words.
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
from selfedit.ledger.records import KINDS
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Dropped,
    Example,
    Harvested,
    JudgeReply,
    Prompt,
    Proposal,
    Question,
    Rating,
    Result,
    Reward,
    Routed,
    Selected,
    SelfEdit,
    Task,
    Turn,
    Update,
    Variant,
    Verdict,
)

text = st.text(max_size=20)
name = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20
)  # SQLite ends a name at NUL; documents are read without any
number = st.integers(0, 2**40)
score = st.floats(allow_nan=False) | st.none()
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.lists(text, max_size=2).map(tuple)
kinds = st.sampled_from(["given", "written", "cloze"])
asked = st.lists(st.builds(Question, text, text, kinds, text | st.none(), texts, text), max_size=3).map(tuple)
turns = st.builds(
    Turn, st.builds(Prompt, text, st.booleans(), text), text, st.sampled_from(["stop", "length"]), st.lists(number, max_size=3).map(tuple)
)
verdicts = st.lists(st.builds(Verdict, text, st.sampled_from(["accept", "reject", "stop"]), text), max_size=2).map(tuple)
edits = st.builds(
    SelfEdit,
    text,
    st.lists(turns, max_size=3).map(tuple),
    st.lists(st.builds(Example, text, text), max_size=3).map(tuple),
    st.lists(st.builds(Dropped, text, text), max_size=2).map(tuple),
    st.booleans(),
    st.lists(st.tuples(text, st.booleans() | number | finite | text), max_size=3).map(tuple),
    st.integers(0, 3),
    text,
)


def answers_to(questions: tuple[Question, ...]) -> st.SearchStrategy[tuple[Answer, ...]]:
    """Some of the questions answered, perhaps several times: by adapters of different seeds."""
    answer = st.builds(Answer, st.sampled_from(questions), text, st.booleans() | st.none(), score) if questions else st.nothing()
    return st.lists(answer, max_size=4 if questions else 0).map(tuple)


@settings(max_examples=40, deadline=None)
@given(
    task=st.builds(Task, name, text, text, asked, asked),
    edit=edits,
    round=number,
    index=number,
    reward=st.builds(Reward, score, text, text, st.lists(st.tuples(text, finite), max_size=2).map(tuple)),
    data=st.data(),
    losses=st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    verdicts=verdicts,
    artifact=st.builds(Artifact, text, text, text),
    row=name,
    advantage=st.floats(allow_nan=False),
    rating=score,
    metrics=st.dictionaries(text, st.floats(allow_nan=False), max_size=3),
)
def test_round_trip_of_every_record(task, edit, round, index, reward, data, losses, verdicts, artifact, row, advantage, rating, metrics):
    rewarded, reported = data.draw(answers_to(task.reward_questions)), data.draw(answers_to(task.report_questions))
    proposal = Proposal(task.id, round, index, 3, edit)
    written = {
        Task: [task],
        Proposal: [proposal],
        Candidate: [Candidate(proposal, reward, rewarded, losses, 5, verdicts)],
        Rating: [Rating(task.id, round, index, row, 0, rating), Rating(task.id, round, index, row, 1, None)],
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
            found = [reader.tasks(), reader.proposals(round), reader.candidates(), reader.ratings(round), reader.selected(round)]
            assert repr(found) == repr(list(written.values())[:5])  # repr: 0.0 and -0.0 are equal
            assert reader.proposals(round + 1) == reader.candidates(round + 1) == []
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


NAN = math.nan
TASK = made_up.task(0)
PROPOSAL = made_up.proposal(TASK, 0, 0)
REWARDED = made_up.answers(TASK.reward_questions, True)


@pytest.mark.parametrize(
    ("kind", "record", "field"),
    [
        (
            Result,
            Result("base", "t0", (replace(made_up.answers(TASK.report_questions, True)[1], gold_logprob=NAN),)),
            "answers[0].gold_logprob is NaN",
        ),
        (Candidate, Candidate(PROPOSAL, Reward(NAN, "likelihood")), "reward.value is NaN"),
        (Candidate, Candidate(PROPOSAL, Reward(1.0, "mix", parts=(("a", 1.0), ("b", NAN)))), "reward.parts[1][1] is NaN"),
        (Candidate, Candidate(PROPOSAL, Reward(1.0, "x"), (REWARDED[0], replace(REWARDED[0], gold_logprob=NAN))), "answers[1].gold_logprob is NaN"),
        (Rating, Rating("t0", 0, 0, "halving", 0, NAN), "value is NaN"),
        (Selected, Selected("t0", 0, 0, NAN), "advantage is NaN"),
        (Update, Update(0, "grpo", 1, 0, (NAN,), {"kl": NAN}), "metrics.kl is NaN"),
        (Variant, Variant(0, None, "s", "p", "questions", 1, 1, NAN), "lr is NaN"),
        (Verdict, Verdict("norm", "perhaps", "x"), "decision of record 1: Input should be 'accept'"),  # type: ignore[arg-type]
        (Selected, Selected("t0", 0, 0, "much"), "advantage of record 1: Input should be a valid number"),  # type: ignore[arg-type]
        (Update, Update(0, "x", None, 0), "groups of record 1: Input should be a valid integer"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_true_is_refused(tmp_path: Path, kind: type, record: object, field: str):
    fine = {
        Result: Result("base", "t0", ()),
        Candidate: made_up.candidate(TASK, made_up.proposal(TASK, 0, 1)),
        Rating: Rating("t0", 0, 1, "halving", 0, None),
        Selected: Selected("t0", 0, 1),
        Update: Update(0, "grpo", 1, 0, (NAN, math.inf)),
        Variant: Variant(1, None, "NaN", "NaN", "questions", 1, 1, math.inf),
        Verdict: Verdict("NaN", "accept", "NaN"),
    }[kind]
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("tasks", Task, lambda: [TASK])
        ledger.step("edits", Proposal, lambda: [PROPOSAL, made_up.proposal(TASK, 0, 1)])
        before = ledger.content_hash()
        with pytest.raises(LedgerError) as refusal:
            ledger.step("broken", kind, lambda: [fine, record])
        assert all(words in str(refusal.value) for words in ("step 'broken' holds a", kind.__name__, field, "record 1"))
        assert not ledger.is_finished("broken") and ledger.content_hash() == before
        assert repr(ledger.step("broken", kind, lambda: [fine])) == repr([fine])


def test_records_that_do_not_fit_are_refused(tmp_path: Path):
    task, edit, candidate = TASK, PROPOSAL, made_up.candidate(TASK, PROPOSAL)
    rating, variant = Rating(task.id, 0, 0, "halving", 0, 1.0), Variant(0, None, "s", "p", "questions", 1, 1, 1e-3)
    stranger, unknown = made_up.task(9), made_up.proposal(task, 0, 5)
    with made_up.begin(tmp_path / "run") as ledger:
        for number, record in enumerate((task, edit, candidate, rating, variant)):
            ledger.step(f"{number}", type(record), lambda record=record: [record])
            with pytest.raises(LedgerError, match=rf"'again' holds a {type(record).__name__} that is recorded already .*: record 0 of the step"):
                ledger.step("again", type(record), lambda record=record: [record])
        ledger.step("next rung", Rating, lambda: [replace(rating, rung=1), replace(rating, prefilter="gradient")])
        ledger.step("next round", Proposal, lambda: [replace(edit, round=1)])
        for record in (made_up.proposal(stranger, 0, 0), Result("base", stranger.id, ())):
            with pytest.raises(LedgerError, match=r"holds a \w+ whose task is not recorded: record 0"):
                ledger.step("strange", type(record), lambda record=record: [record])
        for record in (made_up.candidate(task, unknown), Selected(task.id, 0, 5), Selected(task.id, 7, 0), replace(rating, index=5)):
            with pytest.raises(LedgerError, match=r"holds a \w+ whose proposal is not recorded: record 0"):
                ledger.step("strange", type(record), lambda record=record: [record])
        with pytest.raises(TypeError, match="a step of Selected got a Task"):
            ledger.step("kept", Selected, lambda: [task])
        with pytest.raises(TypeError, match="not int"):
            ledger.step("numbers", int, lambda: pytest.fail("computed in vain"))
        assert not any(map(ledger.is_finished, ("again", "strange", "kept", "numbers")))


def rewrite(run: Path, change: str) -> None:
    with sqlite3.connect(run / "ledger.db") as db:
        assert db.execute(change).rowcount > 0
    db.close()


def test_a_field_that_was_added_later_has_its_default(tmp_path: Path):
    turn = Turn(Prompt("Write"), "line", "stop", (1, 2))
    edit = Proposal(TASK.id, 0, 0, 1, SelfEdit("self-qa", (turn,), ()))
    result = Result("base", TASK.id, (), 7, seed=3)
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("tasks", Task, lambda: [TASK])
        ledger.step("edits", Proposal, lambda: [edit])
        ledger.step("results", Result, lambda: [result])
    rewrite(tmp_path / "run", "UPDATE records SET body = json_remove(body, '$.edit.turns[0].tokens', '$.edit.dropped') WHERE kind = 'Proposal'")
    rewrite(tmp_path / "run", "UPDATE records SET body = json_remove(body, '$.seed', '$.role') WHERE kind = 'Result'")
    with Reader(tmp_path / "run") as reader:
        assert reader.proposals() == [replace(edit, edit=SelfEdit("self-qa", (replace(turn, tokens=()),), ()))]
        assert reader.results() == [replace(result, seed=0)]


def test_a_field_of_a_later_version_is_refused(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger)
    rewrite(tmp_path / "run", "UPDATE records SET body = json_set(body, '$.edit.turns[0].mood', 'bright') WHERE kind = 'Proposal' AND idx = 2")
    with Reader(tmp_path / "run") as reader:
        for read in (reader.proposals, reader.candidates):
            with pytest.raises(
                LedgerError, match=r"of run run cannot be read: '.*edit\.turns\.0\.mood' is not known here: a newer selfedit wrote it, upgrade"
            ):
                read()
        assert len(reader.tasks()) == made_up.TASKS


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
        ledger.step("ratings", Rating, lambda: [Rating("t0", 0, 0, "halving", 0, None)])
        ledger.step("variant", Variant, lambda: [Variant(0, None, "self-qa", "Write", "questions", 1, 2, 1e-3)])
        ledger.step("update", Update, lambda: [Update(0, "grpo", 4, 1, (0.5,), {"kl": 0.1 + 0.2})])
        ledger.step("replay", Example, lambda: [Example("Paris.", "What is the capital of France?")])
        ledger.step("harvest", Harvested, lambda: [Harvested("t0", "When?", "1802", ("1802", "1803"), ("in 1802",), 0.5, "its answers do not agree")])
        said = SelfEdit("self-qa", (), (), directives=(("lr", 5e-4), ("epochs", 6), ("turned", True), ("layers", "half")))
        ledger.step(
            "directed", Proposal, lambda: [Proposal(TASK.id, 9, 0, 0, said), Proposal(TASK.id, 9, 1, 0, SelfEdit("self-qa", (), (), problem="why"))]
        )
        ledger.step("routes", Routed, lambda: [Routed("Who?", "t0", "", -1.5), Routed("How are you?", "", "", None, False)])
    db = sqlite3.connect(tmp_path / "run" / "ledger.db")

    def ask(query: str) -> list[tuple[object, ...]]:
        return db.execute(query).fetchall()

    by_row = "SELECT row, avg(correct), count(*) FROM results JOIN answers ON result_id = results.id WHERE role = 'report' GROUP BY row"
    assert sorted(ask(by_row)) == [("after", 1.0, 8), ("base", 0.0, 8)]
    first_loss = "SELECT json_extract(losses, '$[0]'), json_extract(losses, '$[1]') FROM candidates WHERE reward IS NULL LIMIT 1"
    assert ask(first_loss) == [(1 / 3, "NaN")]
    assert ask("SELECT reward, reward_reason, tokens FROM candidates WHERE idx > 0 ORDER BY id LIMIT 2") == [(None, "diverged", 40), (0.2, "", 40)]
    assert ask("SELECT role, count(*) FROM questions GROUP BY role ORDER BY role") == [("report", 8), ("reward", 4)]
    assert ask("SELECT count(*), sum(gold_logprob IS NULL) FROM answers WHERE candidate_id IS NOT NULL") == [(48, 40)]
    assert ask("SELECT idx, count(*) FROM proposals JOIN turns ON proposal_id = proposals.id GROUP BY idx") == [(0, 8), (1, 16), (2, 24)]
    assert ask("SELECT idx, name, value FROM directives") == [(0, "lr", 5e-4), (0, "epochs", 6), (0, "turned", 1), (0, "layers", "half")]
    assert ask("SELECT idx, problem FROM proposals WHERE round = 9") == [(0, ""), (1, "why")]
    assert ask("SELECT continued, finish_reason, given FROM turns LIMIT 1") == [(1, "length", "Sentence 0.")]
    assert ask("SELECT candidate_id IS NULL, count(*) FROM verdicts GROUP BY 1 ORDER BY 1") == [(0, 24), (1, 1)]
    assert ask("SELECT prefilter, rung, value FROM ratings") == [("halving", 0, None)]
    assert ask("SELECT number, parent, strategy FROM variants") == [(0, None, "self-qa")]
    assert ask("SELECT algorithm, json_extract(metrics, '$.kl') FROM updates") == [("grpo", 0.1 + 0.2)]
    assert ask("SELECT sum(advantage) FROM selected") == [(8.0,)]
    assert ask("SELECT name, path FROM artifacts") == [("adapter", "adapter")]
    assert ask("SELECT title, context FROM tasks LIMIT 1") == [(TASK.title, TASK.context)]
    for kind, count in ask("SELECT kind, count(*) FROM records GROUP BY kind"):
        view = (
            "verdicts WHERE candidate_id IS NULL"
            if kind == "Verdict"
            else {"Selected": "selected", "Routed": "routed", "Harvested": "harvested"}.get(str(kind), f"{kind}s")
        )
        assert ask(f"SELECT count(*) FROM {view}") == [(count,)], kind
    assert {kind for (kind,) in ask("SELECT kind FROM records")} == {kind.__name__ for kind in KINDS}
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
