from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.house import House


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> House:
    monkeypatch.chdir(tmp_path)
    for name in ("SELFEDIT_RUNS", "SELFEDIT_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "110")
    return House(tmp_path, capsys)
