"""A model and what it has learned in Stanford's HELM (`crfm-helm`): a deployment, and the bundled probes as a run spec beside HELM's own.

HELM can keep results by the text of a request and the name of a deployment, whatever the weights: the name has their digest.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from helm.benchmark.adaptation.adapter_spec import ADAPT_GENERATION, ADAPT_MULTIPLE_CHOICE_SEPARATE_ORIGINAL, AdapterSpec
from helm.benchmark.adaptation.scenario_state import ScenarioState
from helm.benchmark.executor import ExecutorError
from helm.benchmark.metrics.metric import MetricInterface, MetricResult, MetricSpec, PerInstanceStats
from helm.benchmark.metrics.metric_name import MetricName
from helm.benchmark.metrics.statistic import Stat
from helm.benchmark.model_deployment_registry import ClientSpec, ModelDeployment, WindowServiceSpec, register_model_deployment
from helm.benchmark.model_metadata_registry import ModelMetadata, register_model_metadata
from helm.benchmark.presentation.run_entry import RunEntry
from helm.benchmark.run import run_benchmarking, run_entries_to_run_specs
from helm.benchmark.run_spec import RunSpec, run_spec_function
from helm.benchmark.runner import set_benchmark_output_path
from helm.benchmark.scenarios.scenario import CORRECT_TAG, TEST_SPLIT, Input, Instance, Output, Reference, Scenario, ScenarioSpec
from helm.benchmark.window_services.no_tokenizer_window_service import NoTokenizerWindowService
from helm.clients.client import Client
from helm.common.authentication import Authentication
from helm.common.request import GeneratedOutput, Request, RequestResult, Token
from helm.proxy.retry import NonRetriableException

from selfedit.errors import ConfigError
from selfedit.integrations.texts import Figure, TextModel, context_of, conversation
from selfedit.retention import Probe, Probed
from selfedit.retention.probes import LONGEST, judged, probes
from selfedit.types import Sampling

Model = TextModel
MODELS: dict[str, TextModel] = {}
"""Those that are deployed, by the name of the deployment: HELM makes clients out of names."""
MODEL = "selfedit/model"
VALUE = "value"
"""The metric of the probes: 1 or 0, or nats a token."""
_TURN = threading.Lock()
"""HELM asks from several threads."""


def deploy(model: TextModel, name: str = MODEL) -> str:
    """Make a model known to HELM under a name. Returns the name of its deployment, which is in every request, with the digest of the weights."""
    deployment = f"{name}-{model.digest[:16]}"
    MODELS[deployment] = model
    client, window = (f"{__name__}.{one.__name__}" for one in (EngineClient, Window))
    arguments = {"deployment": deployment}
    register_model_metadata(ModelMetadata(name, "selfedit", name, str(model.policy.recipe.model), "open", None))
    spec = WindowServiceSpec(window, arguments)
    register_model_deployment(ModelDeployment(deployment, ClientSpec(client, arguments), name, window_service_spec=spec))
    return deployment


class EngineClient(Client):  # type: ignore[misc]
    """Answers requests with the engine, one at a time. A prompt is put in the chat template where the model has one, as HELM does."""

    def __init__(self, deployment: str) -> None:
        self.model = MODELS[deployment]

    def make_request(self, request: Request) -> RequestResult:
        """What is written after a prompt, or how likely the prompt is. Raises NonRetriableException where that fails: HELM would try again."""
        begun = time.time()
        if request.embedding or request.messages or request.multimodal_prompt or (request.echo_prompt and request.max_tokens):
            raise NonRetriableException("this model completes texts, or says how likely they are")
        try:
            with _TURN:
                outputs = self._likelihood(request) if request.echo_prompt else self._written(request)
        except Exception as error:
            raise NonRetriableException(str(error)) from error
        return RequestResult(True, [], outputs, False, request_time=time.time() - begun, request_datetime=int(begun))

    def _written(self, request: Request) -> list[GeneratedOutput]:
        prompt = conversation(request.prompt) if self.model.tokenizer.has_chat_template else request.prompt
        longest, stop = min(request.max_tokens, self.model.most // 2), tuple(request.stop_sequences)
        drawn = [Sampling(longest, request.temperature, request.top_p, stop=stop, seed=n) for n in range(request.num_completions)]
        found = self.model.write([(prompt, one) for one in drawn])
        return [GeneratedOutput(one.text, sum(one.logprobs), self._tokens(one.tokens, one.logprobs)) for one in found]

    def _likelihood(self, request: Request) -> list[GeneratedOutput]:
        [(tokens, score)] = self.model.likelihoods([request.prompt])
        return [GeneratedOutput(request.prompt, sum(score.logprobs), self._tokens(tokens, score.logprobs))]

    def _tokens(self, tokens: Sequence[int], logprobs: Sequence[float]) -> list[Token]:
        return [Token(self.model.tokenizer.decode([token]), logprob) for token, logprob in zip(tokens, logprobs, strict=True)]


class Window(NoTokenizerWindowService):  # type: ignore[misc]
    """How much fits: HELM leaves out examples until a prompt does. What is still too long is cut by the client, at its beginning."""

    def __init__(self, deployment: str) -> None:
        self.model = MODELS[deployment]

    def tokenize(self, text: str) -> list[str]:
        """The text in pieces, one for each token."""
        return [self.model.tokenizer.decode([token]) for token in self.model.tokenizer.encode_more(text)]

    def get_num_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.model.tokenizer.encode_more(text))

    def fits_within_context_window(self, text: str, expected_completion_token_length: int = 0) -> bool:
        """Whether a prompt fits, and an answer of so many tokens after it."""
        return self.get_num_tokens(text) + expected_completion_token_length <= self.model.most


# ---------------------------------------------------------------- the probes as run specs


class ProbeScenario(Scenario):  # type: ignore[misc]
    """Some of the bundled probes, by their ids."""

    name, description, tags = "selfedit_probes", "What a model could do before it learned anything", ["selfedit"]

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__()
        self.ids = set(ids)

    def get_instances(self, output_path: str) -> list[Instance]:
        """One for each probe: its context, and the answers that are right or to choose from, a right one first."""
        return [_instance(one) for one in probes() if one.id in self.ids]


def _instance(probe: Probe) -> Instance:
    answers = [Reference(Output(text), [CORRECT_TAG] if text in probe.answers else []) for text in probe.scored or probe.answers]
    return Instance(Input(context_of(probe)), answers, TEST_SPLIT, id=probe.id)


class ProbeMetric(MetricInterface):  # type: ignore[misc]
    """The judge of the probes."""

    def evaluate(self, scenario_state: ScenarioState, *_: Any) -> MetricResult:
        """The value of every probe that has one, and their mean."""
        of, known = defaultdict[str, list[GeneratedOutput]](list), {one.id: one for one in probes()}
        for state in scenario_state.request_states:
            of[state.instance.id].extend(state.result.completions)
        found = {name: value for name, said in of.items() if (value := _value(known[name], said)) is not None}
        name, mean = MetricName(VALUE, split=TEST_SPLIT), Stat(MetricName(VALUE, split=TEST_SPLIT))
        for value in found.values():
            mean.add(value)
        return MetricResult([mean.take_mean()], [PerInstanceStats(one, None, 0, [Stat(name).add(value)]) for one, value in found.items()])


def _value(probe: Probe, said: Sequence[GeneratedOutput]) -> float | None:
    scores = [one.logprob / len(one.tokens) for one in said] if probe.scored else ()
    return judged(probe, said[0].text.strip(), scores).value


def probe_spec(asked: Sequence[Probe], scored: bool) -> RunSpec:
    """Those probes whose answers are written, or those whose answers are scored: each of their texts is a request of its own."""
    ids = [one.id for one in asked if bool(one.scored) == scored]
    method = ADAPT_MULTIPLE_CHOICE_SEPARATE_ORIGINAL if scored else ADAPT_GENERATION
    nothing = dict.fromkeys(("input_prefix", "input_suffix", "output_prefix", "output_suffix", "instance_prefix"), "")
    how = AdapterSpec(method, max_train_instances=0, num_outputs=1, temperature=0.0, max_tokens=0 if scored else LONGEST, **nothing)
    scenario = ScenarioSpec(f"{__name__}.ProbeScenario", {"ids": ids})
    return RunSpec(f"selfedit_probes:scored={scored}", scenario, how, [MetricSpec(f"{__name__}.ProbeMetric", {})])


@run_spec_function("selfedit_probes")  # type: ignore[untyped-decorator]
def all_probes(scored: str = "False") -> RunSpec:
    """The probes for `helm-run`, whose answers are written, or `scored=True`."""
    return probe_spec(probes(), scored == "True")


# ---------------------------------------------------------------- asking


def probed(model: TextModel, asked: Sequence[Probe]) -> list[Probed]:
    """What came of probes that HELM asked, in their order. The engine answers all that it will be asked beforehand, in two calls."""
    model.write([(context_of(one), Sampling(LONGEST)) for one in asked if not one.scored])
    model.likelihoods([context_of(one) + text for one in asked for text in one.scored])
    name, values = deploy(model), dict[str, float]()
    for spec in (probe_spec(asked, scored) for scored in {bool(one.scored) for one in asked}):
        how = replace(spec.adapter_spec, model=MODEL, model_deployment=name)
        values |= run(replace(spec, adapter_spec=how)).get(VALUE, {})
    return [Probed(one.id, one.kind, "", values.get(one.id)) for one in asked]


def figures(before: TextModel, after: TextModel, tasks: Sequence[str], limit: int = 0) -> list[Figure]:
    """HELM's own run specs, as `helm-run` takes them (`synthetic_reasoning:mode=induction`), asked before and after, with standard errors."""
    found = []
    for task in tasks:
        then, now = (_asked(model, task, limit) for model in (before, after))
        for metric, values in ((metric, values) for metric, values in then.items() if metric in now):
            means = fmean(values), fmean(now[metric])
            found.append(Figure(task, metric, *means, _error(values), _error(now[metric])))
    return found


def _asked(model: TextModel, task: str, limit: int) -> dict[str, list[float]]:
    """By metric that the run spec names, the value of every item."""
    deploy(model)
    [spec] = run_entries_to_run_specs([RunEntry(task, 1, None)], max_eval_instances=limit or None, models_to_run=[MODEL])
    names = {name for one in spec.metric_specs for name in one.args.get("names", ())}
    return {metric: list(of.values()) for metric, of in run(spec).items() if metric in names}


def _error(values: Sequence[float]) -> float | None:
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def run(spec: RunSpec) -> dict[str, dict[str, float]]:
    """HELM's results: by metric, the value of every item by its id. Nothing else is kept of what HELM writes and prints."""
    flags = dict.fromkeys(("dry_run", "skip_instances", "cache_instances", "cache_instances_only", "skip_completed_runs"), False)
    with TemporaryDirectory(prefix="selfedit-helm-") as folder, redirect_stdout(StringIO()):
        set_benchmark_output_path(folder)
        settings = {"url": None, "local_path": f"{folder}/local", "num_threads": 1, "output_path": folder, "suite": "selfedit"}
        try:
            run_benchmarking([spec], Authentication(""), exit_on_error=True, runner_class_name=None, disable_cache=True, **settings, **flags)
        except ExecutorError as error:
            raise ConfigError(f"HELM's request failed: {error.__cause__ or error}") from error
        rows = json.loads(Path(folder, "runs", "selfedit", spec.name, "per_instance_stats.json").read_text(encoding="utf-8"))
    found = defaultdict[str, dict[str, float]](dict)
    for row in rows:
        for stat in row["stats"]:
            if "mean" in stat:  # HELM writes one that nothing was added to without it
                found[stat["name"]["name"]][row["instance_id"]] = stat["mean"]
    return found
