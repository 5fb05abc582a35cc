"""The next token of every row: greedy, or drawn with temperature, top-k and top-p, from random numbers that belong to the row.

Shapes: n rows, V vocabulary, B blocks of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.types import Sampling

TRIES = 4
"""Draws from the whole vocabulary before the nucleus is sorted out."""
UNIFORMS = TRIES + 1
"""Random numbers that a token may need."""
SHORTLIST = 256
"""Most probable tokens looked at first where a nucleus has to be sorted; rows that need more are sorted whole."""
BLOCK = 128


def next_tokens(logits: Tensor, settings: Sequence[Sampling], uniforms: Tensor, histories: Sequence[Sequence[int]]) -> tuple[list[int], list[float]]:
    """logits (n, V) in at least fp32, uniforms (n, UNIFORMS) → tokens and their log-probabilities at temperature 1 (nats), n of each.

    `histories` are the tokens that a repetition penalty looks at.
    """
    device = logits.device
    plain = logits.softmax(-1)
    changed = [i for i, s in enumerate(settings) if s.repetition_penalty != 1.0]
    if changed:
        logits = logits.clone()
    for i in changed:
        seen, penalty = torch.tensor(sorted(set(histories[i])), device=device), settings[i].repetition_penalty
        z = logits[i, seen]  # Keskar et al. 2019 (CTRL), section 4.1
        logits[i, seen] = torch.where(z > 0, z / penalty, z * penalty)
    chosen = torch.empty(len(settings), dtype=torch.long, device=device)
    greedy = [i for i, s in enumerate(settings) if s.temperature == 0]
    if greedy:
        chosen[greedy] = (logits if len(greedy) == len(settings) else logits[greedy]).argmax(-1)
    drawn = [i for i, s in enumerate(settings) if s.temperature > 0]
    if drawn:
        rows = torch.tensor(drawn, device=device)
        if not changed and all(settings[i].temperature == 1 for i in drawn):
            p = plain if len(drawn) == len(settings) else plain[rows]
        else:
            p = (logits[rows] / torch.tensor([settings[i].temperature for i in drawn], device=device, dtype=logits.dtype)[:, None]).softmax(-1)
        chosen[rows] = draw(p, [settings[i].top_p for i in drawn], [settings[i].top_k for i in drawn], uniforms.to(device)[rows])
    found = plain.gather(1, chosen[:, None]).squeeze(1)
    return chosen.tolist(), found.clamp_min(torch.finfo(found.dtype).tiny).log().tolist()


def draw(p: Tensor, top_p: Sequence[float], top_k: Sequence[int], uniforms: Tensor) -> Tensor:
    """p (n, V) → (n,) tokens of each row's nucleus (Holtzman et al. 2020, section 3.1) and of its `top_k` best (0: all).

    A token is drawn from the whole row and kept if it lies inside, which most do; only rows that miss `TRIES` times are sorted. Every way
    that ends has the distribution of the nucleus, so the result has it.
    """
    mass = torch.tensor(top_p, device=p.device, dtype=torch.float64)
    best = torch.tensor([k or p.shape[1] for k in top_k], device=p.device)
    chosen = torch.empty(p.shape[0], dtype=torch.long, device=p.device)
    left = torch.arange(p.shape[0], device=p.device)
    for attempt in range(TRIES):
        q = p if len(left) == len(p) else p[left]
        chosen[left] = _inverse(q, uniforms[left, attempt])
        left = left[~_inside(q, chosen[left], mass[left], best[left])]
        if not len(left):
            return chosen
    chosen[left] = _nucleus(p[left], mass[left], best[left], uniforms[left, TRIES])
    return chosen


def _inverse(p: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF sampling (n, V), (n,) → (n,): first the block of tokens, then the token in it."""
    n, V = p.shape
    blocks = F.pad(p, (0, -V % BLOCK)).view(n, -1, BLOCK)
    mass = blocks.sum(-1).double().cumsum(-1)
    target = u[:, None] * mass[:, -1:]
    block = torch.searchsorted(mass, target, right=True).clamp_(max=mass.shape[1] - 1)
    before = mass.gather(1, block) - blocks.sum(-1).double().gather(1, block)
    inside = blocks[torch.arange(n, device=p.device), block.squeeze(1)].double().cumsum(-1)
    place = torch.searchsorted(inside, target - before, right=True).clamp_(max=BLOCK - 1)
    return (block * BLOCK + place).squeeze(1).clamp_(max=V - 1)


def _inside(p: Tensor, token: Tensor, mass: Tensor, best: Tensor) -> Tensor:
    """Whether the more probable tokens leave room for this one (n,)."""
    own = p.gather(1, token[:, None])
    inside = own.squeeze(1) > 0
    narrow = (mass < 1).nonzero().squeeze(1)
    if len(narrow):
        q = p if len(narrow) == len(p) else p[narrow]
        inside[narrow] &= torch.where(q > own[narrow], q, 0).sum(-1) < mass[narrow]
    few = (best < p.shape[1]).nonzero().squeeze(1)
    if len(few):
        inside[few] &= (p[few] > own[few]).sum(-1) < best[few]
    return inside


def _nucleus(p: Tensor, mass: Tensor, best: Tensor, u: Tensor) -> Tensor:
    """Draw from the smallest set of the most probable tokens that has `mass`, of at most `best` tokens."""
    short = min(SHORTLIST, p.shape[1])
    values, index = p.topk(short, sorted=True)
    if not bool(((values.double().sum(-1) >= mass) | (best <= short)).all()):
        values, index = p.sort(dim=-1, descending=True, stable=True)
    q = values.double()
    before = q.cumsum(-1) - q
    rank = torch.arange(q.shape[1], device=q.device)[None]
    q = q.masked_fill((before >= mass[:, None]) | (rank >= best[:, None]), 0)
    total = q.cumsum(-1)
    place = torch.searchsorted(total, u[:, None] * total[:, -1:], right=True).clamp_(max=q.shape[1] - 1)
    return index.gather(1, place).squeeze(1)
