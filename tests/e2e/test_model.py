"""The whole way with the real packaged model: it knows nothing of an invented document, learns it, and answers.

1. `demo` on one document: no report question is answered before, some are after, and the numbers are those of the ledger.
2. `ask` answers with the adapter otherwise than without.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfedit.cli import main


@pytest.mark.model
def test_real_model_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SELFEDIT_RUNS", str(tmp_path))
    assert main(["demo", "--limit", "1", "--propose.candidates", "1", "--inner.epochs", "4", "--guard.forgetting.max-nats", "9", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["before"]["mean"] == 0 and said["before"]["n"] == said["after"]["n"] == 6
    assert said["after"]["mean"] > 0
    assert all((Path(folder) / "adapter_model.safetensors").is_file() for folder in said["adapters"].values())
    assert main(["ask", "How long did Hanneke Druil keep the lamp at Cobnut Point?", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["learned"] != answer["before"]
