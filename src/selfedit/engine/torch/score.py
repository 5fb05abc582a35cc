"""Log-probabilities of given completions under many adapters, in one forward pass a budget of tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.budget import fitting
from selfedit.engine.torch.cross_entropy import logprobs, top_logprobs
from selfedit.engine.torch.kv_cache import KVCache, rounded
from selfedit.engine.torch.lora import ActiveAdapters, adapter_indices
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.prefill import Lower, Text, parts, prefill, shared_prefix
from selfedit.engine.torch.workers import contiguous_shares, run_shares
from selfedit.types import Progress, Score, ScoreRequest, Tokens


def score(
    base: Base,
    adapters: Mapping[str, Weights],
    requests: Sequence[ScoreRequest],
    cache_tokens: int,
    budget_tokens: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Score]:
    """One score a request, in their order; about `budget_tokens` tokens a pass, which takes about `cache_tokens` of memory (at least one text)."""
    if not requests:
        return []
    index = adapter_indices(r.adapter for r in requests)
    order = sorted(range(len(requests)), key=lambda i: (index[requests[i].adapter], requests[i].prompt + requests[i].completion))
    shares = contiguous_shares([len(r.prompt) + len(r.completion) for r in requests], workers, order)

    @torch.no_grad()
    def run(share: list[int], report: Callable[[int], None]) -> list[Score]:
        some, room = [requests[i] for i in share], cache_tokens // len(shares)
        active = ActiveAdapters(adapters, [r.adapter for r in some])
        texts = [Text(r.adapter, (r.prompt + r.completion)[:-1], len(r.prompt) - 1) for r in some]
        scores = {i: Score(()) for i, r in enumerate(some) if not r.completion}
        for turn, lower in _turns(base, active, texts, [i for i, r in enumerate(some) if r.completion], room, budget_tokens):
            waiting = deque(sorted(turn, key=lambda i: (active.index(texts[i].adapter), texts[i].tokens)))
            most = len(texts)
            while waiting:
                batch = _next_batch(waiting, texts, most, room, budget_tokens)
                work = partial(prefill, base, active, KVCache(len(batch)), [texts[i] for i in batch], lower=lower)
                hidden = fitting(work, len(batch))
                if hidden is None:
                    waiting.extendleft(reversed(batch))
                    most = len(batch) // 2
                    continue
                for top in sorted({some[i].top for i in batch}):
                    asked = [(i, h) for i, h in zip(batch, hidden, strict=True) if some[i].top == top]
                    states, completions = [h for _, h in asked], [some[i].completion for i, _ in asked]
                    scores |= dict(zip((i for i, _ in asked), _read(base, states, completions, top), strict=True))
                report(len(scores))
        return [scores[i] for i in range(len(some))]

    return run_shares(run, shares, len(requests), progress)


def _turns(
    base: Base, active: ActiveAdapters, texts: Sequence[Text], some: Sequence[int], cache_tokens: int, budget_tokens: int
) -> Iterator[tuple[Sequence[int], Lower | None]]:
    """The texts by their numbers, with what they come to below the first layer that an adapter changes, where several adapters read the same ones.

    A turn keeps the states of about `cache_tokens` tokens: little beside the keys and values of as many in every layer.
    """
    first = active.first(base.site_layers)
    different = sorted({texts[i].tokens for i in some})
    if first < 1 or len(different) == len(some) or not base.divisible:
        yield some, None
        return
    for part in parts(different, cache_tokens):
        lower, among = Lower.of(base, first, part, budget_tokens), set(part)
        yield [i for i in some if texts[i].tokens in among], lower


def _next_batch(waiting: deque[int], texts: Sequence[Text], most: int, cache_tokens: int, budget_tokens: int) -> list[int]:
    """The next texts of a pass, by their numbers, taken out of those that wait: at most `most`, and at least one."""
    batch = [waiting.popleft()]
    spent = longest = len(texts[batch[0]].tokens)
    while waiting and len(batch) < most:
        spent += len(texts[waiting[0]].tokens) - shared_prefix(texts[batch[-1]], texts[waiting[0]])
        longest = max(longest, len(texts[waiting[0]].tokens))
        if spent > budget_tokens or (len(batch) + 1) * rounded(longest) > cache_tokens:
            break
        batch.append(waiting.popleft())
    return batch


def _read(base: Base, hidden: Sequence[Tensor], completions: Sequence[Tokens], top: int) -> list[Score]:
    """hidden (n, d) of each text, which ends before the last token of its completion."""
    states = torch.cat([h[-len(completion) :] for h, completion in zip(hidden, completions, strict=True)])
    targets = hardware.upload(torch.tensor([token for completion in completions for token in completion]), base.device)
    lengths = [len(completion) for completion in completions]
    if not top:
        return [Score(tuple(values.tolist())) for values in torch.split(logprobs(states, base.head, targets).cpu(), lengths)]
    found = (torch.split(values.cpu(), lengths) for values in top_logprobs(states, base.head, targets, top))
    return [
        Score(tuple(logp.tolist()), tuple((tuple(i), tuple(p)) for i, p in zip(ids.tolist(), values.tolist(), strict=True)))
        for logp, ids, values in zip(*found, strict=True)
    ]
