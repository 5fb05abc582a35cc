"""Settings of the embedded engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfedit.parts import Settings

Wanted = Literal["auto", "on", "off"]
"""Of a faster way that not every device takes: where it can be taken, at any price, never."""


class TorchSettings(Settings):
    """Settings of `torch`."""

    device: str = "auto"
    """cpu, cuda, cuda:1, ... `auto` takes the GPU where there is one."""
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    """Type of the frozen base's weights; adapters and their optimizer are fp32. `auto`: bfloat16 where the processor is fast at it."""
    threads: int = Field(0, ge=0)
    """CPU threads, each a worker of its own in training; 0 leaves the number to torch: one for each core."""
    slots: int = Field(16, ge=1)
    """Adapters trained at the same time, by all workers together."""
    budget_tokens: int = Field(0, ge=0)
    """Tokens of one pass of a worker; 0 is 1024 on a CPU, on a GPU as many as there is room for, up to 8192."""
    cache_tokens: int = Field(0, ge=0)
    """Tokens held in the key-value cache while sampling; 0 is 24576 on a CPU, on a GPU what three tenths of its free memory hold, at most 393216."""
    varlen: Wanted = "auto"
    """PyTorch's flash attention for training and reading prompts. `auto`: in bfloat16 on a GPU where it computes what the engine's own does."""
    graphs: Wanted = "auto"
    """Train and write tokens with shapes that stay the same, on a GPU as CUDA graphs. `auto`: on a GPU; `on`: on a CPU too, where it is slower."""
