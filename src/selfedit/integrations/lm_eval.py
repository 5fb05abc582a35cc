"""A model and what it has learned in EleutherAI's LM Evaluation Harness (`lm-eval`), all requests of a kind in one call of the engine.

The harness can cache answers by the text of a request, whatever the weights: it is not told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from selfedit.integrations.texts import Figure, TextModel, in_chat
from selfedit.retention import Probe, Probed
from selfedit.retention.probes import LONGEST, judged, text_tokens
from selfedit.types import Sampling, Score, ScoreRequest, Tokens

PREFIX = "selfedit_probes_"
_VALUE = "value"
"""The metric of our own tasks: 1 or 0, or nats a token."""


class EngineLM(TextModel, LM):  # type: ignore[misc]
    """A model of texts as the harness knows models."""

    @property
    def tokenizer_name(self) -> str:
        """What requests are told apart by, beside their text."""
        return str(self.policy.recipe.model)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as a context. What the system says stands before what the user says first; an answer that has begun goes on."""
        said: list[str] = []
        for message in chat_history:
            from_user = message["role"] != "assistant"
            if from_user == (len(said) % 2 == 1):  # the same speaker goes on
                said[-1] += f"\n\n{message['content']}"
            else:
                said.append(message["content"])
        begun = said.pop() if len(said) % 2 == 0 else ""
        return in_chat(said, begun)

    # ------------------------------------------------------------ what the harness asks

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation, nats, and whether it is what greedy decoding would write."""
        asked = []
        for how, (context, continuation) in zip(self.put([one.args[0] for one in requests]), [one.args for one in requests], strict=True):
            prompt, tokens = self.continued(how, context, continuation)
            asked.append(ScoreRequest(prompt[-max(1, self.most - len(tokens)) :], tokens[-(self.most - 1) :], how.adapter, top=1))
        return [(sum(score.logprobs), _is_greedy(one, score)) for one, score in zip(asked, self.score(asked), strict=True)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The log-likelihood of each whole text, nats; one that is too long for the model in windows that do not overlap."""
        asked, of = [], []
        adapters = [how.adapter for how in self.put([one.args[0] for one in requests])]
        for n, (one, adapter) in enumerate(zip(requests, adapters, strict=True)):
            for prompt, tokens in self._windows(one.args[0]):
                asked.append(ScoreRequest(prompt, tokens, adapter))
                of.append(n)
        found = [0.0] * len(requests)
        for n, score in zip(of, self.score(asked), strict=True):
            found[n] += sum(score.logprobs)
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What the model writes after each context, up to where it is to stop; greedy unless the task says otherwise."""
        asked = [(one.args[0], _sampling(one.args[1], self.most, n)) for n, one in enumerate(requests)]
        return [completion.text for completion in self.write(asked)]

    def _windows(self, text: str) -> list[tuple[Tokens, Tokens]]:
        after, tokens = text_tokens(self.tokenizer, text)
        if len(tokens) < self.most:
            return [(after, tokens)] if tokens else []
        rolling = get_rolling_token_windows(list(tokens), after[-1], self.most - 1, 1)
        return [(tuple(prompt), tuple(predicted)) for prompt, predicted in map(make_disjoint_window, rolling)]


Model = EngineLM


def _is_greedy(request: ScoreRequest, score: Score) -> bool:
    return all(likeliest[0][0] == token for token, likeliest in zip(request.completion, score.top, strict=True))


def _sampling(wanted: Mapping[str, Any], most: int, seed: int) -> Sampling:
    """The harness' settings as the engine's."""
    until = wanted.get("until") or ()
    ends = tuple(one for one in ((until,) if isinstance(until, str) else until) if one)
    longest = min(int(wanted.get("max_gen_toks") or wanted.get("max_new_tokens") or 256), most // 2)
    if not wanted.get("do_sample"):
        return Sampling(longest, stop=ends)
    return Sampling(longest, float(wanted.get("temperature", 1.0)), float(wanted.get("top_p", 1.0)), stop=ends, seed=seed)


# ---------------------------------------------------------------- the probes as tasks of the harness


class ProbeTask(ConfigurableTask):  # type: ignore[misc]
    """Probes that are asked in one way: `generate_until` for written answers, `multiple_choice`, or `loglikelihood_rolling` for texts."""

    def __init__(self, kind: str, output: str, probes: Sequence[Probe], model: EngineLM) -> None:
        self.probes, self.model = {one.id: one for one in probes}, model
        super().__init__(
            config={
                "task": PREFIX + kind,
                "output_type": output,
                "test_split": "test",
                "doc_to_text": "question",
                "process_results": _judged_by_the_task,
                "metric_list": [{"metric": _VALUE, "aggregation": "mean", "higher_is_better": True}],
                "generation_kwargs": {"until": [], "max_gen_toks": LONGEST, "do_sample": False} if output == "generate_until" else None,
                "target_delimiter": "",
                "num_fewshot": 0,
            }
        )

    def download(self, *_: Any, **__: Any) -> None:
        """The probes' ids and questions."""
        from datasets import Dataset

        self.dataset = {"test": Dataset.from_list([{"id": one.id, "question": one.question} for one in self.probes.values()])}

    def doc_to_target(self, doc: Mapping[str, str], *_: Any) -> str:
        """The right answer, or one of them; of a text, the text."""
        return self.probes[doc["id"]].answers[0]

    def doc_to_choice(self, doc: Mapping[str, str], *_: Any) -> list[str]:
        """The answers to choose from, the right one first."""
        return list(self.probes[doc["id"]].scored)

    def fewshot_context(self, doc: Mapping[str, str], *_: Any, **__: Any) -> str:
        """The conversation, whether or not the harness was told to use a chat template."""
        return in_chat(self.probes[doc["id"]].said)

    def process_results(self, doc: Mapping[str, str], results: Sequence[Any]) -> dict[str, float]:
        """The value of a probe, by our own judge."""
        return {_VALUE: self._value(self.probes[doc["id"]], results)}

    def _value(self, probe: Probe, results: Sequence[Any]) -> float:
        """The judge of the probes, given what the harness hands back."""
        if probe.match == "choice":
            sizes = [self.model.length(in_chat(probe.said), text) for text in probe.scored]
            scores = [total / size for (total, _), size in zip(results, sizes, strict=True)]
        elif probe.match == "likelihood":
            scores = [results[0] / len(text_tokens(self.model.tokenizer, probe.answers[0])[1])]
        else:
            return _number(judged(probe, results[0].strip(), ()).value)
        return _number(judged(probe, "", scores).value)


def _judged_by_the_task(doc: Mapping[str, str], results: Sequence[Any]) -> dict[str, float]:
    """Says to the harness that a task has a judge of its own. A function: it copies a task's settings, and could not copy the task with its model."""
    raise NotImplementedError


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def tasks_of(probes: Sequence[Probe], model: EngineLM) -> list[ProbeTask]:
    """The probes as tasks; none for a way of asking that no probe has."""
    ways = {"written": "generate_until", "choice": "multiple_choice", "text": "loglikelihood_rolling"}
    of = {kind: [one for one in probes if _way(one) == kind] for kind in ways}
    return [ProbeTask(kind, ways[kind], some, model) for kind, some in of.items() if some]


def _way(probe: Probe) -> str:
    return {"choice": "choice", "likelihood": "text"}.get(probe.match, "written")


def probed(model: EngineLM, probes: Sequence[Probe]) -> list[Probed]:
    """What came of probes that the harness asked, in their order."""
    results = run(model, tasks_of(probes, model))
    values = {row["doc"]["id"]: float(row[_VALUE]) for rows in results["samples"].values() for row in rows}
    return [Probed(one.id, one.kind, "", values[one.id] if values[one.id] == values[one.id] else None) for one in probes]


def figures(before: EngineLM, after: EngineLM, tasks: Sequence[str | dict[str, Any]], limit: int = 0) -> list[Figure]:
    """Tasks of the harness by their names, asked before and after. Its data sets come from where it finds them, which may be a hub."""
    then, now = (run(model, tasks, limit)["results"] for model in (before, after))
    found = []
    for task, measures in then.items():
        for key, value in measures.items():
            metric, _, variant = key.partition(",")
            if isinstance(value, (int, float)) and variant and not metric.endswith("_stderr"):
                error = f"{metric}_stderr,{variant}"
                errors = [_known(of[task].get(error)) for of in (then, now)]
                found.append(Figure(task, metric if variant == "none" else f"{metric} ({variant})", value, now[task][key], *errors))
    return found


def _known(error: Any) -> float | None:
    return float(error) if isinstance(error, (int, float)) else None


def run(model: EngineLM, tasks: Sequence[Any], limit: int = 0) -> dict[str, Any]:
    """The harness' results, with a line for every item."""
    found: dict[str, Any] = simple_evaluate(
        model=model,
        tasks=list(tasks),
        limit=limit or None,
        apply_chat_template=bool(model.tokenizer.has_chat_template),
        bootstrap_iters=1000,
        log_samples=True,
    )
    return found
