"""Writing: short answers under many adapters, and long self-edits without one. The engine beside `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.bench import Bench
from benchmarks.contestants import Writer, fastest
from benchmarks.data import passages
from benchmarks.machine import Cost, alternate, timed
from benchmarks.table import EDITS, GENERATE, GENERATE_8, SAMPLING, Line, Row, rounded
from selfedit.engine.base import Engine
from selfedit.strategies import Source, find
from selfedit.types import Adapter, Completion, SampleRequest, Sampling, Tokens

MIXED = Line("sampling", SAMPLING, "generate, all adapters in one batch (PEFT's adapter_names), bf16", None, None)
RETURNED = Line("edits", EDITS, "generate, the samples of a prompt in one batch (num_return_sequences)", None, None)


def write(engine: Engine, requests: Sequence[SampleRequest], device: str, written: list[Completion]) -> Cost:
    """All requests in one call."""
    cost, found = timed(lambda: engine.sample(requests), device)
    assert all(len(c.tokens) == r.sampling.max_tokens for c, r in zip(found, requests, strict=True)), "the engine ended early"
    written[:] = found
    return cost


def load(engine: Engine, folders: Sequence[Path]) -> list[Adapter]:
    """The adapters that PEFT opens too."""
    return [engine.load(folder) for folder in folders]


# ------------------------------------------------------------ many adapters


def exam(bench: Bench, number: int, count: int) -> list[Tokens]:
    """Questions about a passage in the chat template, as an adapter is asked them."""
    passage = passages()[number % len(passages())]
    return [bench.policy.question(passage.title, q.question) for q in passage.questions[:count]]


def run(bench: Bench) -> list[Row]:
    """Greedy answers: one `generate` an adapter with all of its questions, and PEFT's own batch of many adapters beside it."""
    sizes, sampling = bench.sizes, Sampling(bench.sizes.new_tokens, seed=bench.seed)
    prompts = [exam(bench, i, sizes.prompts) for i in range(sizes.adapters)]
    tokens = sizes.new_tokens * sum(map(len, prompts))
    rows: list[Row] = []
    with bench.adapters() as folders:
        writer = Writer(bench.folder, torch.bfloat16, bench.device, folders)
        asked = list(zip(writer.names, prompts, strict=True))
        theirs: list[list[int]] = []
        mine: list[Completion] = []
        for threads in bench.modes:
            engine = bench.engine(threads)
            requests = [SampleRequest(p, sampling, a) for a, ps in zip(load(engine, folders), prompts, strict=True) for p in ps]
            bench.say("warming up")
            if threads == 1:
                attention = fastest(writer.model, partial(one_by_one, writer, asked[:1], sampling, bench.device, []), bench.primary)
            write(engine, requests, bench.device, mine)
            runs = {
                "engine": partial(write, engine, requests, bench.device, mine),
                GENERATE.against: partial(one_by_one, writer, asked, sampling, bench.device, theirs),
            }
            costs = alternate(runs, bench.repetitions(threads), bench.say)
            if threads > 1:
                bench.whole(rows[0], costs["engine"], costs[GENERATE.against])
                continue
            bench.say(MIXED.against)
            once = [mixed(writer, asked, sampling, bench.device)]
            same = sum(list(a.tokens) == b for a, b in zip(mine, theirs, strict=True)) / len(mine)
            more = {"attention": attention, "same_answers": rounded(same)}
            rows = [
                bench.row(GENERATE, costs["engine"], costs[GENERATE.against], tokens, "tok", **more),
                bench.row(MIXED, costs["engine"][:1], once, tokens, "tok"),
            ]
    return rows


def one_by_one(writer: Writer, asked: Sequence[tuple[str, Sequence[Tokens]]], sampling: Sampling, device: str, written: list[list[int]]) -> Cost:
    """A batch an adapter."""
    cost, found = timed(lambda: [row for name, prompts in asked for row in writer.generate(prompts, sampling, name)], device)
    written[:] = found
    return cost


def mixed(writer: Writer, asked: Sequence[tuple[str, Sequence[Tokens]]], sampling: Sampling, device: str) -> Cost:
    """One batch for all adapters."""
    names = [name for name, prompts in asked for _ in prompts]
    return timed(lambda: writer.generate([p for _, prompts in asked for p in prompts], sampling, mixed=names), device)[0]


# ------------------------------------------------------------ self-edits


def writing(bench: Bench, count: int) -> list[Tokens]:
    """What the policy is asked for implications of the first passages."""
    policy = bench.policy
    found = passages()[:count]
    return [policy.render.prompt(find("implications").ask(Source(p.title, p.context, policy.chat, bench.seed))[0]) for p in found]


def run_edits(bench: Bench) -> list[Row]:
    """Several samples a prompt at temperature 1: `generate` on the prompts together, and on the samples of one prompt together."""
    sizes = bench.sizes
    prompts = writing(bench, sizes.edit_prompts)
    sampling = Sampling(sizes.edit_tokens, temperature=1.0, top_p=0.95, seed=bench.seed)
    requests = [
        SampleRequest(p, replace(sampling, seed=i * sizes.edit_samples + j)) for i, p in enumerate(prompts) for j in range(sizes.edit_samples)
    ]
    tokens, timed_batches = sizes.edit_tokens * len(requests), min(sizes.batches, sizes.edit_samples)
    writer = Writer(bench.folder, torch.bfloat16, bench.device)
    rows: list[Row] = []
    for threads in bench.modes:
        engine = bench.engine(threads)
        short = replace(sampling, max_tokens=min(20, sizes.edit_tokens))
        bench.say("warming up")
        write(engine, [replace(r, sampling=replace(r.sampling, max_tokens=short.max_tokens)) for r in requests], bench.device, [])
        if threads == 1:
            attention = fastest(writer.model, partial(batch, writer, prompts, short, bench.device, 1), bench.primary)
        runs = {
            "engine": partial(write, engine, requests, bench.device, []),
            GENERATE_8.against: partial(rounds, writer, prompts, sampling, bench.device, timed_batches, sizes.edit_samples),
        }
        costs = alternate(runs, bench.repetitions(threads), bench.say)
        if threads > 1:
            bench.whole(rows[0], costs["engine"], costs[GENERATE_8.against])
            continue
        bench.say(RETURNED.against)
        once = [returned(writer, prompts, sampling, bench.device, timed_batches, sizes.edit_samples)]
        notes = [f"{timed_batches} batches timed, {of} counted" for of in (sizes.edit_samples, len(prompts))]
        rows = [
            bench.row(GENERATE_8, costs["engine"], costs[GENERATE_8.against], tokens, "tok", attention=attention, note=notes[0]),
            bench.row(RETURNED, costs["engine"][:1], once, tokens, "tok", attention=attention, note=notes[1]),
        ]
    return rows


def batch(writer: Writer, prompts: Sequence[Tokens], sampling: Sampling, device: str, each: int) -> Cost:
    """One call of `generate`."""
    return timed(lambda: writer.generate(prompts, sampling, each=each), device)[0]


def rounds(writer: Writer, prompts: Sequence[Tokens], sampling: Sampling, device: str, times: int, of: int) -> Cost:
    """Every prompt once in a batch, as often as there are samples. All batches cost the same, so some stand for all."""
    return sum((batch(writer, prompts, sampling, device, 1) for _ in range(times)), Cost()) * (of / times)


def returned(writer: Writer, prompts: Sequence[Tokens], sampling: Sampling, device: str, times: int, each: int) -> Cost:
    """All samples of a prompt in a batch, prompt by prompt; some stand for all."""
    return sum((batch(writer, [p], sampling, device, each) for p in prompts[:times]), Cost()) * (len(prompts) / times)
