"""The whole way with the real packaged model: it knows nothing of an invented document, learns it, and answers.

1. `demo` on one document: no report question is answered before, some are after, and the numbers are those of the ledger.
2. `ask` answers with the adapter otherwise than without.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.house import begin, finish

TEACH = ("--propose.strategies", "sentence-qa", "--inner.epochs", "4", "--inner.worked", "0")
SMALL = ("--limit", "1", "--propose.candidates", "1", *TEACH, "--guard.forgetting.max-nats", "9")
"""Whole sentences: of a single document, short answers are too few to count on one that is right."""


def said(folder: Path, *args: str) -> dict[str, Any]:
    """The JSON of a command in a process of its own: in one that other tests have used, memory and threads are not set as the command sets them."""
    kept = {name: os.environ[name] for name in ("SELFEDIT_CACHE",) if name in os.environ}
    code, out, err = finish(begin(folder, (*args, "--json", "--quiet"), **kept), timeout_s=900)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.model
def test_real_model_learns(tmp_path: Path) -> None:
    learned = said(tmp_path, "demo", *SMALL)
    assert learned["before"]["mean"] == 0 and learned["before"]["n"] == learned["after"]["n"] == 6
    assert learned["after"]["mean"] > 0
    assert all((tmp_path / folder / "adapter_model.safetensors").is_file() for folder in learned["adapters"].values())
    answer = said(tmp_path, "ask", "How long did Hanneke Druil keep the lamp at Cobnut Point?")
    assert answer["topic"] == "Hanneke Druil" and answer["learned"] != answer["before"]
