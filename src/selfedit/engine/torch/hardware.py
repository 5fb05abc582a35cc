"""What the engine asks about a device. Modules ask through this one, so that a test can run on a CPU what a GPU would run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from selfedit.engine.settings import Wanted
from selfedit.errors import EngineError


def on_gpu(device: torch.device) -> bool:
    """Whether launching an operation costs more than a small operation takes: fewer and larger ones are faster then."""
    return device.type == "cuda"


def has_grouped_mm(like: Tensor) -> bool:
    """Whether products of many adapters fit in one grouped product: bf16 on compute capability 9.0 (Hopper) and above."""
    return like.device.type == "cuda" and like.dtype == torch.bfloat16 and torch.cuda.get_device_capability(like.device) >= (9, 0)


def has_flash(like: Tensor) -> bool:
    """Whether PyTorch has flash attention for this type and device: 16 bits on compute capability 8.0 (Ampere) and above."""
    return like.device.type == "cuda" and like.dtype.itemsize == 2 and torch.cuda.get_device_capability(like.device) >= (8, 0)


def has_graphs(device: torch.device) -> bool:
    """Whether launches can be recorded once and repeated as one."""
    return device.type == "cuda"


def graph_memory(device: torch.device) -> Any:
    """Memory that several recorded steps may share, None where nothing is recorded."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def recorded(step: Callable[[], None], device: torch.device, memory: Any = None) -> Callable[[], None]:
    """A function that repeats the launches of a step, which are recorded now and not run.

    The step may wait for nothing, and its tensors stay where they are now.

    Steps that share `memory` leave nothing in it that is needed later. Other threads may ask the device for memory meanwhile.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    with torch.cuda.device(device):
        try:
            with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
                step()
        finally:
            torch.cuda.set_stream(stream)  # a recording that fails does not give it back
    return graph.replay


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may still use: what nobody has, and what torch has taken and keeps for the next tensor."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def upload(host: Tensor, device: torch.device) -> Tensor:
    """A tensor made on the CPU, on the device. A GPU is not waited for: the copy out of pinned memory takes its turn behind what is running."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and host.device.type == "cpu" else host


def download(z: Tensor) -> Callable[[], Tensor]:
    """The way back: a copy on the CPU that takes its turn behind what is running. What is returned waits for it, and gives it."""
    if z.device.type != "cuda":
        copy = z.clone()
        return lambda: copy
    host, there = torch.empty(z.shape, dtype=z.dtype, pin_memory=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
    host.copy_(z, non_blocking=True)
    there.record(torch.cuda.current_stream(z.device))

    def wait() -> Tensor:
        there.synchronize()
        return host

    return wait


class Switch:
    """A faster way that the engine may take beside its plain one; `active` until it fails for the first time."""

    def __init__(self, setting: str, wanted: Wanted, here: bool) -> None:
        """`setting` is its name in a recipe, `here` whether `auto` means on."""
        self.setting, self.wanted, self.active = setting, wanted, wanted == "on" or (wanted == "auto" and here)

    def fail(self, reason: Exception | str) -> None:
        """Never again, which one line on stderr says. Raises EngineError where it was asked for by `on`."""
        self.active = False
        said = (str(reason) or type(reason).__name__).splitlines()[0][:200]
        if self.wanted == "on":
            raise EngineError(f"{self.setting} is on, but {said}; use auto or off")
        print(f"selfedit: {self.setting} is off from here on: {said}", file=sys.stderr)
