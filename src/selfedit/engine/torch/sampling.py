"""The next token of every row: greedy, or drawn with temperature, top-k and top-p, from random numbers that belong to the row.

Shapes: n rows, V vocabulary, B blocks of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.types import Sampling

TRIES = 4
"""Draws from the whole vocabulary before the nucleus is sorted out."""
UNIFORMS = TRIES + 1
"""Random numbers that a token may need."""
SHORTLIST = 256
"""Most probable tokens looked at first where a nucleus has to be sorted; rows that need more are sorted whole."""
AT_ONCE = 2**26
"""Probabilities that a GPU compares at a time: 64 million are a quarter of a gigabyte."""
BLOCK = 128
ROUNDING = 1e-4
"""More than the sum of a row's probabilities is off in fp32."""


def next_tokens(logits: Tensor, settings: Sequence[Sampling], uniforms: Tensor, histories: Sequence[Sequence[int]]) -> tuple[list[int], list[float]]:
    """logits (n, V) in at least fp32, uniforms (n, UNIFORMS) → tokens and their log-probabilities at temperature 1 (nats), n of each.

    `histories` are the tokens that a repetition penalty looks at. The device is waited for once, to read what was chosen.
    """
    plain = logits.softmax(-1)
    logits = penalized(logits, settings, histories)
    drawn = [i for i, s in enumerate(settings) if s.temperature > 0]
    if not drawn:
        tokens, logprobs = _read(plain, logits.argmax(-1))
        return [int(token) for token in tokens], logprobs
    some, everyone = [settings[i] for i in drawn], len(drawn) == len(settings)
    rows = slice(None) if everyone else hardware.upload(torch.tensor(drawn), logits.device)
    if all(s.temperature == 1 and s.repetition_penalty == 1 for s in some):
        p = plain[rows]
    else:
        temperature = torch.tensor([s.temperature for s in some], dtype=logits.dtype)[:, None]
        p = (logits[rows] / hardware.upload(temperature, logits.device)).softmax(-1)
    limits, own = Limits.of(some, p), hardware.upload(uniforms[drawn], logits.device)
    found, missed = draw_at_once(p, limits, own) if hardware.on_gpu(p.device) else (draw(p, limits, own), own.new_zeros(0))
    tokens, logprobs, unlucky = _read(plain, found if everyone else logits.argmax(-1).index_copy(0, rows, found), missed)  # type: ignore[arg-type]
    if left := [i for i, one in enumerate(unlucky) if one]:
        again = hardware.upload(torch.tensor(left), p.device)
        for i, token, value in zip(left, *_read(plain[rows][again], _nucleus(p[again], limits.at(again), own[again, TRIES])), strict=True):
            tokens[drawn[i]], logprobs[drawn[i]] = token, value
    return [int(token) for token in tokens], logprobs


def _read(plain: Tensor, chosen: Tensor, *more: Tensor) -> list[list[float]]:
    """Tokens (n,) that were chosen from plain (n, V), their log-probabilities, and more (·) that is known of some: as lists, read in one go."""
    likely = plain.gather(1, chosen[:, None]).squeeze(1)
    known = [chosen, likely.clamp_min(torch.finfo(likely.dtype).tiny).log(), *more]
    return [part.tolist() for part in torch.split(torch.cat([z.double() for z in known]).cpu(), [len(z) for z in known])]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each of n rows the `mass` of its nucleus and how many of the `best` tokens may be drawn (n,); `narrow`: some row has a limit."""

    mass: Tensor
    best: Tensor
    narrow: bool

    @classmethod
    def of(cls, settings: Sequence[Sampling], p: Tensor) -> Limits:
        """For rows p (n, V)."""
        known = [[s.top_p for s in settings], [s.top_k or p.shape[1] for s in settings]]
        mass, best = hardware.upload(torch.tensor(known, dtype=torch.float64), p.device)
        return cls(mass, best, any(s.top_p < 1 or s.top_k for s in settings))

    def at(self, rows: Tensor) -> Limits:
        """Of some of the rows."""
        return Limits(self.mass[rows], self.best[rows], self.narrow)


def penalized(logits: Tensor, settings: Sequence[Sampling], histories: Sequence[Sequence[int]]) -> Tensor:
    """logits (n, V), those of the tokens in a row's history divided or multiplied by its penalty (Keskar et al. 2019, CTRL, section 4.1).

    All rows that have one go together.
    """
    V = logits.shape[1]
    seen = [(i * V + token, s.repetition_penalty) for i, s in enumerate(settings) if s.repetition_penalty != 1.0 for token in set(histories[i])]
    if not seen:
        return logits
    at = hardware.upload(torch.tensor([place for place, _ in seen]), logits.device)
    penalty = hardware.upload(torch.tensor([value for _, value in seen], dtype=logits.dtype), logits.device)
    z = logits.view(-1).index_select(0, at)
    return logits.view(-1).index_copy(0, at, torch.where(z > 0, z / penalty, z * penalty)).view(logits.shape)


def draw(p: Tensor, limits: Limits, uniforms: Tensor) -> Tensor:
    """p (n, V) → (n,) tokens of each row's nucleus (Holtzman et al. 2020, section 3.1) and of its `top_k` best.

    The tokens of a row stand in one order: by probability, and where two have the same, as often in bf16, by index. The nucleus is the beginning
    of this order. A token is drawn from the whole row and kept if it lies inside, which most do; only rows that miss `TRIES` times are sorted.
    Both ways have the distribution of the nucleus, so the result has it.
    """
    chosen = torch.empty(p.shape[0], dtype=torch.long, device=p.device)
    left = torch.arange(p.shape[0], device=p.device)
    for attempt in range(TRIES):
        q = p if len(left) == len(p) else p[left]
        chosen[left] = _inverse(q, uniforms[left, attempt, None]).squeeze(1)
        left = left[~_inside(q, chosen[left], limits.at(left))]
        if not len(left):
            return chosen
    chosen[left] = _nucleus(p[left], limits.at(left), uniforms[left, TRIES])
    return chosen


def draw_at_once(p: Tensor, limits: Limits, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """As `draw`, all tries together and nothing waited for: tokens (n,), and which rows (n,) missed with every try, and have to be sorted."""
    tokens = _inverse(p, uniforms[:, :TRIES])  # (n, TRIES)
    own = p.gather(1, tokens)
    inside = own > 0
    if limits.narrow:
        size = max(1, AT_ONCE // (TRIES * p.shape[1]))
        parts = zip(*(torch.split(z, size) for z in (p, tokens, own, limits.mass, limits.best)), strict=True)
        inside = inside & torch.cat([_leaves_room(*part) for part in parts])
    first = inside.to(torch.uint8).argmax(1, keepdim=True)
    return tokens.gather(1, first).squeeze(1), ~inside.any(1)


def _leaves_room(p: Tensor, tokens: Tensor, own: Tensor, mass: Tensor, best: Tensor) -> Tensor:
    """Whether the tokens before each of these (n, T), of probability `own`, leave room for it in p (n, V)."""
    every, mine = p[:, None], own[..., None]
    before = (every > mine) | ((every == mine) & (torch.arange(p.shape[1], device=p.device) < tokens[..., None]))  # (n, T, V)
    return (torch.where(before, every, 0).sum(-1, dtype=torch.float64) < mass[:, None]) & (before.sum(-1) < best[:, None])


def _inverse(p: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF sampling (n, V), (n, T) → (n, T): first the block of tokens, then the token in it."""
    n, V = p.shape
    blocks = F.pad(p, (0, -V % BLOCK)).view(n, -1, BLOCK)
    mass = blocks.sum(-1).double().cumsum(-1)
    target = u * mass[:, -1:]
    block = torch.searchsorted(mass, target, right=True).clamp_(max=mass.shape[1] - 1)
    before = mass.gather(1, block) - blocks.sum(-1).double().gather(1, block)
    inside = blocks.gather(1, block[..., None].expand(-1, -1, BLOCK)).double().cumsum(-1)
    place = torch.searchsorted(inside, (target - before)[..., None], right=True).squeeze(-1).clamp_(max=BLOCK - 1)
    return (block * BLOCK + place).clamp_(max=V - 1)


def _inside(p: Tensor, token: Tensor, limits: Limits) -> Tensor:
    """Whether the tokens before this one (n,) in the row's order leave room for it.

    Most are told without telling ties apart: those for which even all others as probable leave room, and those for which the more probable do not.
    """
    mass, best = limits.mass, limits.best
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
        inside[rows] = _leaves_room(p[rows], token[rows, None], own[rows], mass[rows], best[rows]).squeeze(1)
    return inside


def _nucleus(p: Tensor, limits: Limits, u: Tensor) -> Tensor:
    """Draw from the beginning of the row's order that has `mass`, of at most `best` tokens."""
    values, index, enough = shortlisted(p, limits)
    if not bool(enough.all()):
        values, index = p.sort(dim=-1, descending=True, stable=True)
    return from_order(values, index, limits, u)


def shortlisted(p: Tensor, limits: Limits) -> tuple[Tensor, Tensor, Tensor]:
    """The first tokens of each row's order: probabilities and tokens (n, SHORTLIST), and in which rows (n,) the nucleus is among them."""
    short = min(SHORTLIST, p.shape[1])
    values, index = p.topk(short)
    index, by_index = index.sort(-1)
    values, by_value = values.gather(1, by_index).sort(dim=-1, descending=True, stable=True)
    index = index.gather(1, by_value)
    above = values > values[:, -1:]  # which of the last ones' equals are on the list is left to chance
    enough = (torch.where(above, values, 0).sum(-1, dtype=torch.float64) >= limits.mass) | (limits.best <= above.sum(-1))
    return values, index, enough if short < p.shape[1] else torch.ones_like(enough)


def from_order(values: Tensor, index: Tensor, limits: Limits, u: Tensor) -> Tensor:
    """Draw with u (n,) from tokens `index` of probabilities `values` (n, T), the first of the row's order."""
    q = values.double()
    before = q.cumsum(-1) - q
    rank = torch.arange(q.shape[1], device=q.device)[None]
    q = q.masked_fill((before >= limits.mass[:, None]) | (rank >= limits.best[:, None]), 0)
    total = q.cumsum(-1)
    place = torch.searchsorted(total, u[:, None] * total[:, -1:], right=True).clamp_(max=q.shape[1] - 1)
    return index.gather(1, place).squeeze(1)
