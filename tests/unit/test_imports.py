"""What is imported when: torch and transformers only where a model is opened, so that help, errors and reports come at once."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement", ["import selfedit.config", "import selfedit.models", "import selfedit.report", "from selfedit.cli import main; main(['--help'])"]
)
def test_loads_no_torch(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit(' '.join({{'torch', 'transformers', 'peft'}} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_command_loads_torch_for_its_help() -> None:
    names = "import sys; from selfedit.cli import COMMANDS, main; [main([name, '--help']) for name in COMMANDS]"
    done = subprocess.run([sys.executable, "-c", f"{names}; sys.exit('torch' in sys.modules)"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
