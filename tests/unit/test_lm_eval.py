"""The model in the LM Evaluation Harness. Needs the extra `eval`.

1. The bundled probes as tasks of the harness give the same value for every item as asked without it: in the chat template and as plain text, of the
   untrained model, of an adapter, and of a library whose gate lets some in.
2. A continuation's log-likelihood is the sum over its tokens, greedy where the model would write it; a long text is scored in windows, each token
   once.
3. A conversation survives as a context, with what the system says and an answer that has begun; names of control tokens in it are text.
4. What the model without an adapter was asked for is not asked for twice.
5. A task of the harness has its figures before and after, with their errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from selfedit.config import parse_recipe
from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.integrations.lm_eval import EngineLM, _is_greedy, figures, probed
from selfedit.integrations.texts import in_chat
from selfedit.models import load, tiny
from selfedit.policy import Policy
from selfedit.retention import Probe, Probed, Put, ask_probes
from selfedit.retention.probes import put, some
from selfedit.types import Adapter, Datum, SampleRequest, Sampling, ScoreRequest, TrainJob

PROBES = some(("knowledge", "format", "turns", "unknown", "text"), 40)


def policy(folder: Path, chat: bool = True) -> Policy:
    model, tokenizer = load(tiny("llama", folder, chat=chat, hidden=32), torch.float64)
    return Policy(Torch(model, tokenizer, TorchSettings()), parse_recipe({"engine": {"type": "fake"}}, source="test"))


def trained(one: Policy) -> Adapter:
    tokens = one.engine.tokenizer.encode("The mill was built in 1802 by the river, and it is cold, blue and yes.")
    job = TrainJob((Datum(tokens, (1.0,) * len(tokens)),), epochs=6)
    [found] = one.engine.train([replace(job, optimizer=replace(job.optimizer, lr=2e-2))])
    assert found.adapter
    return found.adapter


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0)


def gate(one: Policy, adapter: Adapter) -> Callable[[Probe], Put]:
    """Lets in every other one: in the chat template, or as plain text, with its document."""
    tokenizer = one.engine.tokenizer

    def puts(probe: Probe) -> Put:
        n = next(n for n, each in enumerate(PROBES) if each.question == probe.question)
        found = put(tokenizer, probe, adapter if n % 2 else None, f"Topic: Mills\n{probe.question}" if n % 2 else None)
        plain = tokenizer.encode(f"Topic: Mills\n{probe.question}\nAnswer:")
        return Put(plain, adapter, False, ("\n",)) if n % 4 == 1 and probe.said else found

    return puts


def same(mine: list[Probed], theirs: list[Probed]) -> None:
    assert [(one.id, one.value) for one in theirs] == [(one.id, pytest.approx(one.value, abs=1e-9)) for one in mine]


@pytest.mark.parametrize("chat", [True, False])
def test_the_same_value_for_every_item(chat: bool, tmp_path: Path) -> None:  # promise 1
    one = policy(tmp_path, chat)
    adapter = trained(one)
    before = ask_probes(one, chosen=PROBES)
    same(before, probed(EngineLM(one), PROBES))
    for to in (partial(put, one.engine.tokenizer, adapter=adapter), gate(one, adapter)):
        after = ask_probes(one, to, chosen=PROBES)
        same(after, probed(EngineLM(one, lambda probes, to=to: [to(probe) for probe in probes]), PROBES))
        assert any(a.value != b.value for a, b in zip(after, before, strict=True))


def test_likelihoods(tmp_path: Path) -> None:  # promise 2
    one = policy(tmp_path)
    model, tokenizer = EngineLM(one), one.engine.tokenizer
    [(total, greedy), (other, _)] = model.loglikelihood(
        [asked("loglikelihood", "The river", " is cold"), asked("loglikelihood", "The river ", "is cold")]
    )
    [score] = one.engine.score([ScoreRequest(tokenizer.encode("The river"), tokenizer.encode_more(" is cold"))])
    assert total == pytest.approx(sum(score.logprobs)) == pytest.approx(other) and not greedy
    prompt = tokenizer.encode("The river")
    [drawn] = one.engine.sample([SampleRequest(prompt, Sampling(5))])
    for tokens, expected in ((drawn.tokens, True), ((*drawn.tokens[:-1], drawn.tokens[-1] ^ 1), False)):
        request = ScoreRequest(prompt, tokens, top=1)
        assert _is_greedy(request, *one.engine.score([request])) is expected
    [written] = model.generate_until([asked("generate_until", "The river", {"until": "\n", "max_gen_toks": 5})])
    assert written == drawn.text


def test_long_texts(tmp_path: Path) -> None:  # promise 2
    one = policy(tmp_path)
    model = EngineLM(one)
    short, long = "The river is cold. ", "The river is cold. " * 9
    [whole] = model.loglikelihood_rolling([asked("loglikelihood_rolling", short)])
    prompt, tokens = model._windows(short)[0]
    assert whole == pytest.approx(sum(one.engine.score([ScoreRequest(prompt, tokens)])[0].logprobs))
    model.most = 32
    windows = model._windows(long)
    assert len(windows) > 2 and all(len(before) + len(predicted) <= 32 for before, predicted in windows)
    assert [token for _, predicted in windows for token in predicted] == list(one.engine.tokenizer.encode(long)[1:])


def test_conversations(tmp_path: Path) -> None:  # promise 3
    one = policy(tmp_path)
    model, tokenizer = EngineLM(one), one.engine.tokenizer
    turns = [("system", "Be short."), ("user", "Hi <|im_end|>"), ("assistant", "Hello"), ("user", "Who?"), ("assistant", "It is")]
    context = model.apply_chat_template([{"role": role, "content": text} for role, text in turns], add_generation_prompt=False)
    assert context == in_chat(["Be short.\n\nHi <|im_end|>", "Hello", "Who?"], "It is")
    [how] = model.put([context])
    prompt = tokenizer.chat("Who?", [("Be short.\n\nHi <|im_end|>", "Hello")])
    assert model.continued(how, context, " Ada") == (prompt + tokenizer.encode_more("It is"), tokenizer.encode_more(" Ada"))


def test_nothing_is_asked_twice(tmp_path: Path) -> None:  # promise 4
    one = policy(tmp_path)
    known: dict[Any, Any] = {}
    adapter, calls = trained(one), []
    score = one.engine.score
    one.engine.score = lambda requests, progress=None: (calls.append(len(requests)), score(requests, progress))[1]  # type: ignore[method-assign]
    requests = [asked("loglikelihood", "The river", " is cold"), asked("loglikelihood", "The mill", " was built")]
    before = EngineLM(one, known=known).loglikelihood(requests)

    def route(probes: Sequence[Probe]) -> list[Put]:
        return [put(one.engine.tokenizer, probe, adapter if "mill" in probe.question else None) for probe in probes]

    after = EngineLM(one, route, known).loglikelihood(requests)
    assert calls == [2, 1] and before[0] == after[0] and before[1] != after[1]


def test_tasks_of_the_harness(tmp_path: Path) -> None:  # promise 5
    one = policy(tmp_path / "model")
    adapter = trained(one)
    rows = [{"question": f"The mill was built in {year}", "choices": [" by the river", " by the sea"], "answer": 0} for year in (1802, 1803)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = {
        "task": "mills",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "question",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }

    def route(probes: Sequence[Probe]) -> list[Put]:
        assert all(probe.question.startswith("The mill was built") for probe in probes)
        return [put(one.engine.tokenizer, probe, adapter) for probe in probes]

    [found] = figures(EngineLM(one), EngineLM(one, route), [task])
    assert (found.task, found.metric) == ("mills", "acc") and 0 <= found.before <= 1 and 0 <= found.after <= 1
    assert found.error_before is not None and found.error_after is not None
