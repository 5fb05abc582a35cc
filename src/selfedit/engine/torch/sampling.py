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
ROUNDING = 1e-4
"""More than the sum of a row's probabilities is off in fp32."""


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

    The tokens of a row stand in one order: by probability, and where two have the same, as often in bf16, by index. The nucleus is the beginning
    of this order. A token is drawn from the whole row and kept if it lies inside, which most do; only rows that miss `TRIES` times are sorted.
    Both ways have the distribution of the nucleus, so the result has it.
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
    """Whether the tokens before this one (n,) in the row's order leave room for it.

    Most are told without telling ties apart: those for which even all others as probable leave room, and those for which the more probable do not.
    """
    own = p.gather(1, token[:, None])
    inside = own.squeeze(1) > 0
    unsure = torch.zeros_like(inside)
    narrow = (mass < 1).nonzero().squeeze(1)
    if len(narrow):
        q = p if len(narrow) == len(p) else p[narrow]
        unsure[narrow] |= torch.where(q >= own[narrow], q, 0).sum(-1) - own[narrow].squeeze(1) > mass[narrow] - ROUNDING
    few = (best < p.shape[1]).nonzero().squeeze(1)
    if len(few):
        q = p if len(few) == len(p) else p[few]
        unsure[few] |= (q >= own[few]).sum(-1, dtype=torch.int32) > best[few]
    rows = (inside & unsure).nonzero().squeeze(1)
    if len(rows):
        above = p[rows] > own[rows]
        full = (torch.where(above, p[rows], 0).sum(-1) > mass[rows] + ROUNDING) | (above.sum(-1, dtype=torch.int32) >= best[rows])
        inside[rows] = ~full
        rows = rows[~full]
    if len(rows):
        q, mine = p[rows], own[rows]
        before = (q > mine) | ((q == mine) & (torch.arange(p.shape[1], device=p.device) < token[rows, None]))
        inside[rows] = (torch.where(before, q, 0).sum(-1, dtype=torch.float64) < mass[rows]) & (before.sum(-1) < best[rows])
    return inside


def _nucleus(p: Tensor, mass: Tensor, best: Tensor, u: Tensor) -> Tensor:
    """Draw from the beginning of the row's order that has `mass`, of at most `best` tokens."""
    short = min(SHORTLIST, p.shape[1])
    values, index = p.topk(short)
    index, by_index = index.sort(-1)
    values, by_value = values.gather(1, by_index).sort(dim=-1, descending=True, stable=True)
    index = index.gather(1, by_value)
    above = values > values[:, -1:]  # which of the last ones' equals are on the list is left to chance
    if short < p.shape[1] and not bool(((torch.where(above, values, 0).sum(-1, dtype=torch.float64) >= mass) | (best <= above.sum(-1))).all()):
        values, index = p.sort(dim=-1, descending=True, stable=True)
    q = values.double()
    before = q.cumsum(-1) - q
    rank = torch.arange(q.shape[1], device=q.device)[None]
    q = q.masked_fill((before >= mass[:, None]) | (rank >= best[:, None]), 0)
    total = q.cumsum(-1)
    place = torch.searchsorted(total, u[:, None] * total[:, -1:], right=True).clamp_(max=q.shape[1] - 1)
    return index.gather(1, place).squeeze(1)
