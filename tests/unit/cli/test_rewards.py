"""Every reward, typed as a user types it, on the fake engine: a whole run, its report, and what is said when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.house import QUICK, House
from tests.unit.rewards.judge_server import Say, serving

from selfedit.ledger import Reader, runs
from selfedit.rewards import reward as rewards

MINE = "tests.unit.rewards.made:examples"
PARTS = {"mix": "Gain, nats a token", "perplexity": "Withheld text, nats a token", "majority": "Vote share"}
TRAIN = ("train", *QUICK, "--quiet", "--inner.seeds", "2")


def the_run(house: House) -> Path:
    return house.folder / "runs" / runs(house.folder / "runs")[0].id


def test_show_lists_them(house: House) -> None:
    said = house.fine("show", "rewards")
    assert all(name in said for name in rewards.names())


@pytest.mark.parametrize("reward", [name for name in rewards.names() if name != "judge"])
def test_a_whole_run_with_each(house: House, reward: str) -> None:
    more = ("--reward.function", MINE) if reward == "python" else ("--reward.threshold", "0") if reward == "majority" else ()
    found = json.loads(house.fine(*TRAIN, "--reward", reward, *more, "--json").splitlines()[-1])
    assert found["judge"] == "word recall of at least 0.6" and found["round-2"]["n"] > 0
    assert any(guard["guard"] == "collapse" for guard in found["guards"]) == (reward == "majority")
    with house.reader(found["run"]) as reader:
        candidates = reader.candidates()
        assert reader.notes()["reward"]["type"] == reward
    assert {c.reward.kind for c in candidates} == {reward} and all(c.reward.value is not None for c in candidates)
    page = (house.folder / "runs" / found["run"] / "report.html").read_text()
    assert "Judged by word recall of at least 0.6" in page and PARTS.get(reward, "") in page
    first = candidates[0].proposal
    said = house.fine("show", found["run"], "--candidate", f"{first.task_id}:0:0")
    assert f"({reward})" in said and ("made of" in said) == (reward in PARTS)


def test_the_best_of_k_is_the_best_by_the_reward(house: House) -> None:
    rows = ("eval", *QUICK, "--quiet", "--eval.baselines", "base", "best_of_k", "--json")
    found = json.loads(house.fine(*rows, "--reward", "perplexity").splitlines()[-1])
    with house.reader(found["run"]) as reader:
        assert {c.reward.kind for c in reader.candidates()} == {"perplexity"} and reader.notes()["reward"] == {"type": "perplexity"}
        assert found["best_of_k"]["n"] == found["before"]["n"] > 0
        assert "evaluate/best_of_k/base" not in {step.name for step in reader.steps()}  # it compares with no answers
    found = json.loads(house.fine(*rows, "--reward", "majority", "--reward.threshold", "1").splitlines()[-1])
    assert found["best_of_k"]["n"] == found["before"]["n"]  # of documents without a majority, the first self-edit
    with house.reader(found["run"]) as reader:
        scored, all_ = ({c.proposal.task_id for c in reader.candidates() if c.reward.value is not None or anyway} for anyway in (False, True))
        assert scored and scored < all_
    bare = house.folder / "bare.jsonl"
    asked = [{"question": "When?", "answer": "1847"}, {"question": "Who?", "answer": "Ada"}]
    bare.write_text(json.dumps({"title": "Weir", "context": "It was raised in 1847 by Ada.", "questions": asked}))
    found = json.loads(house.fine(*rows, "--eval-docs", str(bare), "--reward", "choice").splitlines()[-1])
    with house.reader(found["run"]) as reader:
        assert "best_of_k" not in found and "has a reward to choose it by" in reader.notes()["left out: best_of_k"]
    assert "reward.model" in house.refused("eval", *QUICK, "--eval.baselines", "best_of_k", "--reward", "judge")
    house.fine("eval", *QUICK, "--quiet", "--eval.baselines", "base", "--reward", "judge")  # asks for no reward, and for no judge


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--reward", "praise"), "invalid choice 'praise'"),
        (("--reward.samples", "4"), "--reward.samples is a setting of the reward majority; choose it with --reward"),
        (("--reward", "python"), "reward.function: write package.module:function"),
        (("--reward", "python", "--reward.function", "nowhere:f"), "'nowhere:f' cannot be imported"),
        (("--reward", "judge"), "reward.model: name the model that judges"),
        (("--reward", "judge", "--reward.model", "m", "--reward.key-env", "NO_SUCH_KEY"), "set NO_SUCH_KEY"),
        (("--reward", "judge", "--reward.base-url", "https://a:b@c/v1"), "leave out user, password"),
        (("--reward", "mix", "--reward.nats", "0"), "reward.nats"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(house: House, args: tuple[str, ...], said: str) -> None:
    line = house.refused("train", *QUICK, *args)
    assert said in line and "a:b" not in line
    assert not list(house.folder.glob("runs/*"))


def test_a_resumed_run_asks_the_judge_nothing_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge goes away in the middle of a round, for good; the next one takes up where it was."""
    monkeypatch.setenv("MY_KEY", "sk-secret-0123456789")
    asked: list[str] = []
    gone = [True]

    def plan(number: int, data: dict[str, str]) -> Say:
        if gone[0] and number >= 5:
            return Say(status=401)
        asked.append(json.dumps(data))
        return Say("CORRECT" if number % 2 else "INCORRECT")

    with serving(plan) as server:
        judge = ("--reward", "judge", "--reward.model", "m", "--reward.key-env", "MY_KEY", "--reward.concurrency", "1")
        line = house.refused(*TRAIN, *judge, "--reward.base-url", server.base_url)
        assert "refuses (HTTP 401)" in line and len(asked) == 5
        gone[0] = False
        house.fine("train", "--resume", "latest", "--quiet")
        monkeypatch.delenv("MY_KEY")
        house.fine("train", "--resume", "latest", "--quiet")  # finished: needs no judge
    assert len(asked) == len(set(asked)) > 5
    with Reader(the_run(house)) as reader:
        assert reader.notes()["reward"] == {"type": "judge", "judge": f"m at {server.base_url.split('/')[2]}"}
        assert all(c.reward.value is not None and 0 <= c.reward.value <= 1 for c in reader.candidates())
    everything = b"".join(path.read_bytes() for path in the_run(house).rglob("*") if path.is_file())
    assert b"sk-secret" not in everything
