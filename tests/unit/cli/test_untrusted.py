"""What a terminal is shown of other people's texts.

1. No control character of a document, a question or an answer reaches the terminal; line breaks stay.
2. A stream that cannot show a character shows another, and ends no run.
3. The traceback of something unforeseen goes to a file of its own, whatever lies in the shared temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.unit.cli.house import House

from selfedit.cli import main
from selfedit.system.console import harmless


def test_control_characters() -> None:  # promise 1
    assert harmless("a\x1b[2J\x1b]0;title\x07b\nc\td\x9b31m\u202egnp") == "a\ufffd[2J\ufffd]0;title\ufffdb\nc\td\ufffd31m\ufffdgnp"
    assert harmless("Straße, 12 µm, पानी, 日本") == "Straße, 12 µm, पानी, 日本"


def test_a_document_with_escapes(house: House) -> None:  # promise 1
    row = {
        "title": "Mill\x1b[2J",
        "context": "The mill was built by Ada\x1b]0;owned\x07 Farrow in 1902. It grinds oats. It has 3 stones.",
        "questions": [{"question": "Who\x1b[31m built it?", "answer": "Ada Farrow"}, {"question": "What does it grind?", "answer": "oats"}],
    }
    (house.folder / "d.jsonl").write_text(json.dumps(row), encoding="utf-8")
    house.fine("learn", "d.jsonl", "--engine", "fake", "--propose.candidates", "2")
    said = house.fine("show", "latest") + house.fine("ask", "Who built the mill?")
    assert "\x1b" not in said and "\x07" not in said


def test_streams_that_are_not_utf8(tmp_path: Path) -> None:  # promise 2
    command = [sys.executable, "-m", "selfedit", "demo", "--engine", "fake", "--limit", "2", "--quiet"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "After" in done.stdout.decode("cp1252")


def test_the_log_of_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 3
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / "mine.txt"
    mine.write_text("untouched", encoding="utf-8")
    (tmp_path / f"selfedit-error-{os.getpid()}.log").symlink_to(mine)
    monkeypatch.setattr("selfedit.store.runs.find", lambda *_: 1 / 0)
    assert main(["report", "--quiet"]) == 2
    assert main(["report"]) == 70
    assert mine.read_text(encoding="utf-8") == "untouched"
    [log] = [path for path in tmp_path.glob("selfedit-error-*") if not path.is_symlink()]
    assert "ZeroDivisionError" in log.read_text(encoding="utf-8") and log.name in capsys.readouterr().err
