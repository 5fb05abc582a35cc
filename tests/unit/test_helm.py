"""The model in HELM. `make validate-helm` installs it in an environment of its own, and runs this.

1. The guard, lm-eval and HELM give every probe the same value, and so the same share in all: of the untrained model, of an adapter, and of a library
   whose gate lets some in; and of the real model, where it is in the cache. The engine is called twice for all that HELM asks.
2. `validate --harness helm` has the figures of `validate`, and before and after of run specs of HELM's own; what HELM cannot run is said in a line.
3. A request names the weights. One that cannot be answered is refused, and not tried again.
4. `helm-run` finds what is in force, and the probes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("helm.benchmark", reason="HELM is not installed: make validate-helm")

from helm.common.request import Request
from helm.proxy.retry import NonRetriableException
from tests.unit.cli.house import House
from tests.unit.test_lm_eval import PROBES, gate, policy, same, trained

from selfedit.config import parse_recipe
from selfedit.integrations import helm, lm_eval
from selfedit.integrations.texts import TextModel
from selfedit.models import catalogue, fetch
from selfedit.policy.opening import open_policy
from selfedit.retention import Probed, ask_probes, compared
from selfedit.retention.probes import OVERALL, put, some


def share(found: Sequence[Probed]) -> float:
    """What the guard `ability` compares."""
    return compared(found, found)[OVERALL].before


@pytest.mark.parametrize("chat", [True, False])
def test_the_same_in_all_three(chat: bool, tmp_path: Path) -> None:  # promise 1
    one = policy(tmp_path, chat)
    adapter = trained(one)
    for to in (None, partial(put, one.engine.tokenizer, adapter=adapter), gate(one, adapter)):
        route = to and (lambda probes, to=to: [to(probe) for probe in probes])
        guard = ask_probes(one, to, chosen=PROBES)
        for found in (lm_eval.probed(lm_eval.EngineLM(one, route), PROBES), helm.probed(TextModel(one, route), PROBES)):
            same(guard, found)
            assert share(found) == share(guard)


def test_two_calls_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    one, calls = policy(tmp_path), []
    for verb in ("sample", "score"):
        ask = getattr(one.engine, verb)
        monkeypatch.setattr(one.engine, verb, lambda *given, ask=ask, verb=verb: (calls.append(verb), ask(*given))[1])
    helm.probed(TextModel(one), PROBES)
    assert calls == ["sample", "score"]


@pytest.mark.model
def test_the_real_model(capsys: pytest.CaptureFixture[str]) -> None:  # promise 1
    packaged = catalogue.find(catalogue.DEFAULT)
    if not packaged or not fetch.cached(packaged):
        pytest.skip(f"not in the cache: selfedit pull {catalogue.DEFAULT}")
    one, asked = open_policy(parse_recipe({}, source="test")), some(limit=28)
    guard = ask_probes(one, chosen=asked)
    theirs = lm_eval.probed(lm_eval.EngineLM(one), asked), helm.probed(TextModel(one), asked)
    with capsys.disabled():
        print(f"\n{one.recipe.model}, {len(asked)} probes: " + ", ".join(f"{share(found):.1%}" for found in (guard, *theirs)))
    assert [[each.value for each in found] for found in theirs] == [[each.value for each in guard]] * 2


@pytest.fixture
def house(house: House) -> House:
    house.learn()
    return house


def test_validate(house: House) -> None:  # promise 2
    own, theirs = (json.loads(house.fine("validate", "--limit", "16", "--json", "--quiet", "--harness", name)) for name in ("own", "helm"))
    assert own["results"] == theirs["results"] and own["let_in"] == theirs["let_in"]
    assert [(one["id"], one["before"], one["after"]) for one in own["probes"]] == [
        (one["id"], one["before"], one["after"]) for one in theirs["probes"]
    ]
    instance = {"input": {"text": "Who?"}, "references": [{"output": {"text": who}, "tags": ["correct"] * (who == "Ada")} for who in ("Ada", "Bo")]}
    (house.folder / "mine.jsonl").write_text(json.dumps(instance | {"split": "test"}) + "\n", encoding="utf-8")
    tasks = ("dyck_language:num_parenthesis_pairs=2", "synthetic_reasoning:mode=induction", f"custom_mcqa:path={house.folder / 'mine.jsonl'}")
    found = json.loads(house.fine("validate", "--harness", "helm", "--tasks", *tasks, "--limit", "3", "--json", "--quiet"))["results"]
    assert {one["task"] for one in found} == set(tasks) and all(0 <= one[when] <= 1 for one in found for when in ("before", "after"))
    assert "exact_match" in {one["metric"] for one in found}
    assert "Unknown run spec name: chess" in house.refused("validate", "--harness", "helm", "--tasks", "chess", "--quiet")


def test_requests(tmp_path: Path) -> None:  # promise 3
    one = policy(tmp_path)
    names = [helm.deploy(TextModel(one, digest=digest * 64)) for digest in "ab"]
    assert names == [f"selfedit/model-{digest * 16}" for digest in "ab"]
    client = helm.EngineClient(names[0])
    request = Request(names[0], helm.MODEL, prompt="Who built the mill?", temperature=0, max_tokens=4, num_completions=2, top_p=1)
    first, second = client.make_request(request).completions
    assert first.text == second.text and first.logprob == sum(token.logprob for token in first.tokens)
    for wrong in (replace(request, embedding=True), replace(request, echo_prompt=True), replace(request, prompt=None)):
        with pytest.raises(NonRetriableException):
            client.make_request(wrong)


def test_helm_run(house: House) -> None:  # promise 4
    entries = [f"selfedit_probes:model=selfedit/{when}" for when in ("before", "after")]
    command = [str(Path(sys.executable).with_name("helm-run")), "--run-entries", *entries, "--suite", "mine", "-m", "4", "--exit-on-error"]
    done = subprocess.run(command, cwd=house.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for when in ("before", "after"):
        rows = json.loads((house.folder / f"benchmark_output/runs/mine/selfedit_probes:scored=False,model=selfedit_{when}/stats.json").read_text())
        assert [row["count"] for row in rows if row["name"]["name"] == helm.VALUE] == [1]
