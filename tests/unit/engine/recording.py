"""What a CUDA graph does, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "lift_fresh"}


def tensors(out: Any) -> list[Tensor]:
    return [z for z in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(z, Tensor)]


class Graph(TorchDispatchMode):
    """Notes every operation with its tensors, and repeats it on the very same ones. Repeated, it counts as no operation."""

    made = repeated = 0
    kept: tuple[Tensor, ...] = ()

    def __init__(self, step: Callable[[], None], device: Any = None, memory: Any = None) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, list[Tensor]]] = []
        before = [z.clone() for z in self.kept]
        with self:
            step()
        for z, old in zip(self.kept, before, strict=True):  # recording runs nothing
            z.copy_(old)
        Graph.made += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._schema.name.removeprefix("aten::") not in WAITS, f"{func} waits for the device, or brings it a number"
        out = func(*args, **(kwargs or {}))
        if not any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns):
            self.noted.append((func, args, kwargs or {}, tensors(out)))
        return out

    @torch.no_grad()
    def __call__(self) -> None:
        Graph.repeated += 1
        with _disable_current_modes():
            for func, args, kwargs, made in self.noted:
                for old, new in zip(made, tensors(func(*args, **kwargs)), strict=True):
                    if old is not new:
                        old.copy_(new)
