"""A model of low precision that computes in fp32 for a while, to be compared with another way of computing the same: rounding hides differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def widened(model: nn.Module) -> Iterator[None]:
    """Inside the block every layer computes in fp32, with its own weights, which are held twice only while the layer runs."""
    hooks = []
    for module, whole in _parts(model):
        narrow: list[tuple[Tensor, Tensor]] = []
        hooks.append(module.register_forward_pre_hook(lambda m, _, narrow=narrow, whole=whole: _widen(m, whole, narrow)))
        hooks.append(module.register_forward_hook(lambda *_, narrow=narrow: _restore(narrow), always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _parts(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """The layers, each whole, and the modules beside them, each with its own tensors only."""
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    layers = [layer for name in outer for layer in model.get_submodule(name).children()]
    inside = {id(module) for layer in layers for module in layer.modules()}
    return [(layer, True) for layer in layers] + [(module, False) for module in model.modules() if id(module) not in inside]


def _widen(module: nn.Module, whole: bool, narrow: list[tuple[Tensor, Tensor]]) -> None:
    tensors: list[Any] = [*module.parameters(recurse=whole), *module.buffers(recurse=whole)]
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4:
            narrow.append((tensor, tensor.data))
            tensor.data = tensor.data.to(torch.float32)


def _restore(narrow: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, data in narrow:
        tensor.data = data
    narrow.clear()
