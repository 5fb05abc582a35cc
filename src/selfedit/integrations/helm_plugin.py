"""What `helm-run` finds where selfedit is installed: the probes, the untrained model (`selfedit/before`), and the model with what is in force."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from selfedit.integrations.helm import deploy
from selfedit.integrations.texts import TextModel, before_and_after
from selfedit.library.force import in_force
from selfedit.library.opening import opened
from selfedit.store import runs
from selfedit.system.console import Show

_open = ExitStack()
atexit.register(_open.close)
for name, model in zip(
    ("before", "after"), before_and_after(_open.enter_context(opened(in_force(runs.root()), Show(quiet=True))), TextModel), strict=True
):
    deploy(model, f"selfedit/{name}")
