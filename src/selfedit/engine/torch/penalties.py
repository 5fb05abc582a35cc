"""Penalties on the weights of an adapter in training, with their gradients in closed form.

Shapes: P numbers of a slot, R its rank, E the ranks of all earlier adapters together, i the input size of a site (linear layer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose
from typing import Any

import torch
from torch import Tensor

from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.jobs import Running, Term
from selfedit.engine.torch.training_pass import Found
from selfedit.errors import EngineError
from selfedit.types import EWC, OLoRA, TrainJob


def ewc(penalty: EWC, arena: Arena, adapters: Mapping[str, Weights]) -> Term:
    """λ / 2 Σ F (θ - θ*)², whose gradient is λ F (θ - θ*)."""
    centre, fisher = (adapters[one.id].placed(arena.layout, arena.master) for one in penalty.uses)

    def add(weights: Tensor, gradient: Tensor) -> Tensor:
        away = weights - centre
        pull = fisher * away
        gradient.add_(pull, alpha=penalty.strength)
        return penalty.strength / 2 * torch.dot(pull, away)

    return add


def o_lora(penalty: OLoRA, arena: Arena, adapters: Mapping[str, Weights]) -> Term:
    """λ Σ ‖A Eᵀ‖² with A (R, i) and all earlier ones, E (E, i), site by site; its gradient is 2 λ A Eᵀ E."""
    earlier: dict[int, Tensor] = {}
    for site, parts in enumerate(zip(*(adapters[one.id].down for one in penalty.earlier), strict=True)):
        if known := [part.to(arena.master) for part in parts if part is not None]:
            earlier[site] = torch.cat(known)

    def add(weights: Tensor, gradient: Tensor) -> Tensor:
        (own, _), (into, _) = (arena.layout.views(row[None]) for row in (weights, gradient))
        total = weights.new_zeros(())
        for site, known in earlier.items():
            down, grad = own[site], into[site]
            if down is not None and grad is not None:
                common = down[0] @ known.t()
                grad[0].addmm_(common, known, alpha=2 * penalty.strength)
                total += common.square().sum()
        return penalty.strength * total

    return add


TERMS: Mapping[type[Any], Callable[[Any, Arena, Mapping[str, Weights]], Term]] = {EWC: ewc, OLoRA: o_lora}
"""How each penalty is computed."""


def terms(job: TrainJob, arena: Arena, adapters: Mapping[str, Weights]) -> list[Term]:
    """The penalties of a job, ready for its slot."""
    return [TERMS[type(penalty)](penalty, arena, adapters) for penalty in job.penalties]


def penalise(r: Running) -> Found:
    """Add the gradients of a job's penalties to that of its running step, all passes of which have been made."""
    value = torch.stack([add(r.slot.master, r.slot.gradient) for add in r.penalties]).sum()
    return Found([(r, r.step)], [0], torch.stack([value, value]), [(0, "penalty")])


def check_shapes(job: TrainJob, sites: set[int], adapters: Mapping[str, Weights]) -> None:
    """Raises EngineError where a job on these sites cannot begin with an adapter, or be held near one: its shape is another."""
    shape = job.lora
    for adapter in job.alike:
        w = adapters[adapter.id]
        if (w.rank, w.sites) != (shape.rank, sites):
            raise EngineError(
                f"{adapter.id} has rank {w.rank} on {len(w.sites)} linear layers; "
                f"a job that goes on from it or is held to it has the same, not rank {shape.rank} on {len(sites)}"
            )
    if job.start and not isclose(scale := adapters[job.start.id].scale, shape.alpha / shape.rank, rel_tol=1e-6):
        raise EngineError(
            f"{job.start.id} is scaled by {scale:g}; a job that goes on from it has the same alpha / rank, not {shape.alpha / shape.rank:g}"
        )
