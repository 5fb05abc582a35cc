"""Inner loops: from a self-edit to an adapter, a file an inner loop."""

from selfedit.inner.base import InnerLoop, InnerSettings, inner

__all__ = ["InnerLoop", "InnerSettings", "inner"]
