"""The inner loop as a reward of TRL's trainers.

1. A completion gets exactly the reward that `selfedit train` gives it: cut off or not, beyond a stop string or not, of a chat model or a base one.
2. Seeds are paired in a group, and are others at the next step; the same call gives the same rewards.
3. What TRL's contract asks: plain or conversational, None for what was not scored or is another reward's row, a value a completion for the log.
4. What one completion cannot be is refused in one line: strategies that ask more than once, mixed or picked ones, prefilters, rows of another data
   set; and questions without an answer, where the reward needs one.
5. `follow` puts adapters on the trainer's LoRA, and on nothing else.
6. Nothing of TRL is loaded; without datasets the error says what to install.
7. examples/trl_grpo.py runs, and so does the Python in docs/other-trainers.md.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfedit.config import Recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import ConfigError, DataError, ModelError
from selfedit.integrations.trl import InnerLoopReward
from selfedit.ledger import Ledger, Reader
from selfedit.loop import Run
from selfedit.loop.round import one_round
from selfedit.models import tiny
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Candidate, Progress, SelfEdit, Task, TrainJob

QUICK = {"limit": 2, "inner": {"epochs": 2}, "questions": {"max_tokens": 4}}


def recipe(**more: Any) -> Recipe:
    propose = {"strategies": ["self-qa", "implications"], "candidates": 4}
    return parse_recipe({"engine": {"type": "fake"}, "propose": propose, "limit": 2} | more)


class Silent:
    """Nobody is told how the work goes on."""

    def stage(self, title: str) -> AbstractContextManager[Progress]:
        return nullcontext(lambda done, total: None)

    def say(self, text: str) -> None:
        pass


def trained(folder: Path, policy: Policy) -> list[Candidate]:
    """A round as `selfedit train` goes through it."""
    settings = policy.recipe
    with Ledger.create(folder, command="train", recipe=settings, environment={}) as ledger:
        run, passages = Run(policy, ledger, Silent()), bundled_corpus("train")[: settings.limit]
        tasks = run.step("tasks", Task, "", lambda progress: policy.domain.tasks(policy, passages, "train", progress))
        one_round(run, tasks, 0, settings.open("algorithm"))
    with Reader(folder) as reader:
        return reader.candidates()


def asked(reward: InnerLoopReward, candidates: Sequence[Candidate], **more: Any) -> list[float | None]:
    """The same completions, as TRL hands them over."""
    tokenizer = reward.policy.engine.tokenizer
    turns = [c.proposal.edit.turns[0] for c in candidates]
    ids = [[*tokenizer.encode_more(t.completion), *(tokenizer.end if t.finish_reason == "stop" else ())] for t in turns]
    plain = turns[0].prompt.continued
    return reward(
        [t.prompt.text if plain else [{"role": "user", "content": t.prompt.text}] for t in turns],
        [t.completion if plain else [{"role": "assistant", "content": t.completion}] for t in turns],
        completion_ids=ids,
        task=[c.proposal.task_id for c in candidates],
        strategy=[c.proposal.edit.strategy for c in candidates],
        **more,
    )


def told(edit: SelfEdit) -> SelfEdit:
    """A self-edit as text alone: a trainer keeps the tokens to itself."""
    return replace(edit, turns=tuple(replace(turn, tokens=()) for turn in edit.turns))


def values(candidates: Sequence[Candidate]) -> list[float | None]:
    return [c.reward.value for c in candidates]


SENTENCES = {"type": "likelihood", "of": "sentence"}


@pytest.mark.parametrize("kind", ["correctness", "likelihood", "choice", SENTENCES, SENTENCES | {"type": "mix"}, "mix", "perplexity", "majority"])
@pytest.mark.parametrize(("chat", "max_tokens"), [(True, 256), (True, 40), (False, 256)])
def test_the_loops_own_rewards(tmp_path: Path, kind: str | dict[str, str], chat: bool, max_tokens: int) -> None:  # promise 1
    propose = {"strategies": ["self-qa", "implications"], "candidates": 4, "sampling": {"max_tokens": max_tokens, "temperature": 1.0}}
    settings = recipe(reward={"type": kind} if isinstance(kind, str) else kind, inner={"seeds": 2}, propose=propose)
    before = trained(tmp_path / "run", Policy(Fake(chat=chat), settings))
    reward = InnerLoopReward(settings, Policy(Fake(chat=chat), settings))
    assert asked(reward, before) == values(before)
    for c, again in zip(before, reward.candidates, strict=True):
        assert replace(again, proposal=c.proposal) == c and told(again.proposal.edit) == told(c.proposal.edit)
    assert {turn.finish_reason for c in before for turn in c.proposal.edit.turns} >= ({"length"} if max_tokens == 40 else {"stop"})


def test_the_loops_own_rewards_of_a_real_engine(tmp_path: Path) -> None:  # promise 1
    model = str(tiny("llama", tmp_path / "tiny"))
    engine = {"type": "torch", "device": "cpu", "dtype": "float32", "threads": 1}
    propose = {"strategies": ["key-facts"], "candidates": 2, "sampling": {"max_tokens": 16}}
    settings = recipe(model=model, engine=engine, reward={"type": "likelihood"}, propose=propose, **QUICK)
    before = trained(tmp_path / "run", open_policy(settings))
    assert asked(InnerLoopReward(settings), before) == values(before) and None not in values(before)


def test_the_text_ends_where_the_loop_would_have_stopped() -> None:  # promise 1
    settings = recipe()
    reward = InnerLoopReward(settings, Policy(Fake(chat=False), settings))
    row = reward.rows()[1]
    assert isinstance(row["prompt"], str) and row["strategy"] == "implications"
    columns = {"task": [row["task"]] * 2, "strategy": [row["strategy"]] * 2}
    written = " 1. The Brown Heron is a vessel of note.\n2. It sails at dawn from Skerrow."
    short, long = reward([row["prompt"]] * 2, [written, f"{written}\n\nPassage:\nAnother one."], **columns)
    assert short == long
    one, other = reward.candidates
    assert one.proposal.edit == other.proposal.edit and len(one.proposal.edit.examples) == 3


def test_seeds_are_paired_in_a_group_and_new_at_each_step() -> None:  # promise 2
    jobs: list[TrainJob] = []

    class Watched(Fake):
        def train(self, some: Sequence[TrainJob], progress: Any = None) -> Any:
            jobs.extend(some)
            return super().train(some, progress)

    settings = recipe(inner={"seeds": 2})
    reward = InnerLoopReward(settings, Policy(Watched(), settings))
    first, *_, last = reward.rows()
    columns = {"task": [first["task"], last["task"]] * 2, "strategy": ["self-qa"] * 4}
    written = [f"Question: Who was the {n}th keeper?\nAnswer: Anselm" for n in range(4)]
    for step in (0, 7, 7):
        reward([""] * 4, written, trainer_state=SimpleNamespace(global_step=step), **columns)
    zero, seven, again = jobs[:8], jobs[8:16], jobs[16:]
    assert seven == again
    for step in (zero, seven):
        assert [j.seed for j in step[0:2]] == [j.seed for j in step[4:6]] and [j.seed for j in step[2:4]] == [j.seed for j in step[6:8]]
        assert len({j.seed for j in step}) == 4
    assert not {j.seed for j in zero} & {j.seed for j in seven}


def test_none_where_there_is_no_reward_and_a_value_for_each_in_the_log() -> None:  # promise 3
    failing: list[TrainJob] = []

    def diverges(job: TrainJob) -> bool:
        failing.append(job)
        return len(failing) == 2

    settings = recipe()
    reward = InnerLoopReward(settings, Policy(Fake(diverges=diverges), settings))
    extra: dict[str, list[Any]] = {}
    metrics: dict[str, float] = {}
    task = reward.rows()[0]["task"]
    found = reward(
        [""] * 3,
        [[{"role": "assistant", "content": [{"type": "text", "text": "Question: Who raised it?\nAnswer: Ida"}]}], "", "anything"],
        task=[task, task, None],
        strategy=["self-qa", "self-qa", None],
        log_extra=extra.__setitem__,
        log_metric=metrics.__setitem__,
        environments=None,
    )
    assert found[0] is not None and found[1:] == [None, None]
    assert extra["examples"] == [2, 1, 0] and extra["unscored"][1].startswith("diverged") and metrics == {"unscored": 0.5}
    assert reward([""], ["x"], task=[None], strategy=[None], log_metric=metrics.__setitem__) == [None]
    assert reward.__name__ == "inner_loop_correctness"


def test_rows_are_what_trl_reads() -> None:  # promise 3
    trl = pytest.importorskip("trl")
    for chat in (True, False):
        settings = recipe()
        data = InnerLoopReward(settings, Policy(Fake(chat=chat), settings)).dataset()
        assert data.column_names == ["prompt", "task", "strategy"] and len(data) == 4
        assert trl.is_conversational(data[0]) is chat


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"propose": {"strategies": ["self-qa", "span-qa"]}}, "strategy 'span-qa' does not ask once"),
        ({"propose": {"strategies": ["passage-only"]}}, "strategy 'passage-only' does not ask once"),
        ({"propose": {"strategies": ["rewrite", "self-qa+key-facts"]}}, r"not of 'self-qa\+key-facts': set propose.mix to 1"),
        ({"propose": {"strategies": ["self-qa", "key-facts"], "mix": 2}}, r"not of 'self-qa\+key-facts': set propose.mix to 1"),
        ({"propose": {"strategies": ["self-qa", "key-facts"], "pick": "policy"}}, "set propose.pick to turns"),
        ({"prefilter": {"type": "halving"}}, "set prefilter.type to none"),
        ({"reward": {"type": "judge"}}, "reward.model"),
    ],
)
def test_what_cannot_be_a_reward(more: dict[str, Any], message: str) -> None:  # promise 4
    with pytest.raises(ConfigError, match=message):
        InnerLoopReward(recipe(**more))


def test_answers_that_nobody_knows(tmp_path: Path) -> None:  # promise 4
    unknown = {"question": "Who built it?", "answer": None}
    row = {"title": "Corve Mill", "context": "It was built in 1688. Its wheel is of larch.", "questions": [unknown]}
    (tmp_path / "docs.jsonl").write_text(json.dumps(row), encoding="utf-8")
    docs = [str(tmp_path / "docs.jsonl")]
    assert len(InnerLoopReward(recipe(docs=docs, reward={"type": "majority"})).tasks) == 1
    with pytest.raises(DataError, match="1 questions have no answer"):
        InnerLoopReward(recipe(docs=docs))


def test_rows_of_another_data_set() -> None:  # promise 4
    reward = InnerLoopReward(recipe())
    with pytest.raises(ConfigError, match="columns `task` and `strategy`"):
        reward(["a"], ["b"])
    for task, strategy in (("nowhere", "self-qa"), (reward.rows()[0]["task"], "rewrite")):
        with pytest.raises(ConfigError, match="train on its dataset"):
            reward(["a"], ["b"], task=[task], strategy=[strategy])


def test_follows_the_trainers_lora(tmp_path: Path) -> None:  # promise 5
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny("llama", tmp_path / "tiny")
    engine = {"type": "torch", "device": "cpu", "dtype": "float32", "threads": 1}
    settings = recipe(model=str(folder), engine=engine, reward={"type": "likelihood"}, propose={"strategies": ["key-facts"]}, **QUICK)
    still, moving = InnerLoopReward(settings), InnerLoopReward(settings)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with pytest.raises(ConfigError, match="only a LoRA can be followed"):
        moving.follow(plain)
    model = peft.get_peft_model(plain, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    moving.follow(model)
    row = still.rows()[0]
    call = {"task": [row["task"]], "strategy": ["key-facts"], "prompts": [row["prompt"]], "completions": ["1. The weir is old.\n"]}
    assert moving(**call) == still(**call)  # B is zero yet
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) if "lora_B" in name else 0)
    assert moving(**call) != still(**call)
    model.save_pretrained(tmp_path / "adapter")
    merged = InnerLoopReward(settings, open_policy(settings, tmp_path / "adapter"))
    assert moving(**call) == moving(**call) == merged(**call)
    other = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), peft.LoraConfig(r=4, target_modules=["q_proj"], use_rslora=True, task_type="CAUSAL_LM")
    )
    with pytest.raises(ModelError, match="not a plain LoRA"):
        moving.follow(other)
    assert moving(**call) == merged(**call)  # still the one before


def test_trl_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    code = "import sys; import selfedit.integrations.trl; sys.exit(' '.join({'trl', 'torch', 'datasets', 'peft'} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'selfedit\[trl\]'"):
        InnerLoopReward(recipe()).dataset()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
def test_the_example_runs(capsys: pytest.CaptureFixture[str], trainer: str) -> None:  # promise 7
    pytest.importorskip("trl")
    spec = importlib.util.spec_from_file_location("example_trl", Path(__file__).parents[2] / "examples" / "trl_grpo.py")
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    rewards = example.run(example.parser().parse_args(["--trainer", trainer, "--steps", "2", "--generations", "2", "--follow"]))
    printed = capsys.readouterr().out
    assert len(rewards) == 2 and "step 2: mean reward" in printed and printed.count("last step, key-facts") == 2


@pytest.mark.slow
def test_the_pages_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 7
    pytest.importorskip("trl")
    page = (Path(__file__).parents[2] / "docs" / "other-trainers.md").read_text(encoding="utf-8")
    reward, data = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    [settings] = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    small = '[inner]\nepochs = 1\n[questions]\nmax_tokens = 4\n[engine]\ntype = "torch"\ndevice = "cpu"\n'
    Path("mine.toml").write_text(
        f"limit = 1\n{settings.replace('Qwen/Qwen3-0.6B', str(tiny('qwen3', tmp_path / 'tiny')))}\n{small}", encoding="utf-8"
    )
    quick = 'GRPOConfig("grpo", max_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no", '
    names: dict[str, Any] = {}
    exec(reward.replace('GRPOConfig("grpo", ', quick).replace("max_completion_length=256", "max_completion_length=8"), names)
    assert len(names["reward"].candidates) == 4 and names["trainer"].state.log_history[0]["reward"] != 0
    Path("edits.jsonl").write_text("".join(f'{{"messages": [], "finish_reason": "{how}"}}\n' for how in ("stop", "length")), encoding="utf-8")
    exec(data, names)
    assert len(names["data"]) == 1
