"""What is freed is kept up to a share of the machine's memory, and given back beyond it; the memory of a virtual machine may grow meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selfedit.engine.torch import memory

HOLES = """
from selfedit.system.process import tune
tune()
from selfedit.engine.torch.memory import Allocator, held
memory, sparing = Allocator(share=0.0), Allocator(share=1.0)
blocks = [bytearray(b"1") * (100_000 + 10 * i) for i in range(4000)]  # 480 MB of ever other sizes, and then holes
blocks = blocks[::50]
before = held()
sparing.tidy()
assert held() > 0.9 * before
memory.tidy()
after = held()
print(before, after, memory.most)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_holes_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    before, after, most = map(float, done.stdout.split())
    assert before > 400e6 and after < 0.4 * before
    assert after < most < 0.6 * before  # not again before it has grown by a tenth


def test_memory_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, total = list[int](), 4 * 10**9
    monkeypatch.setattr(memory, "memory_bytes", lambda: total)
    monkeypatch.setattr(memory, "held", lambda: 2 * 10**9)
    allocator = memory.Allocator()
    allocator.trim = calls.append  # type: ignore[assignment]
    allocator.most = allocator.least = 10**9
    allocator.tidy()
    assert calls == [0] and allocator.most == 2.2e9
    allocator.most = allocator.least = 10**9
    total = 12 * 10**9
    allocator.tidy()
    assert calls == [0] and allocator.most == 3e9
