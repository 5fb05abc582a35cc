"""What the engine asks about a device. Modules ask through this one, so that a test can run on a CPU what a GPU would run."""

from __future__ import annotations

import torch
from torch import Tensor


def on_gpu(device: torch.device) -> bool:
    """Whether launching an operation costs more than a small operation takes: fewer and larger ones are faster then."""
    return device.type == "cuda"


def has_grouped_mm(like: Tensor) -> bool:
    """Whether products of many adapters fit in one grouped product: bf16 on compute capability 9.0 (Hopper) and above."""
    return like.device.type == "cuda" and like.dtype == torch.bfloat16 and torch.cuda.get_device_capability(like.device) >= (9, 0)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may still use: what nobody has, and what torch has taken and keeps for the next tensor."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def upload(host: Tensor, device: torch.device) -> Tensor:
    """A tensor made on the CPU, on the device. A GPU is not waited for: the copy out of pinned memory takes its turn behind what is running."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
