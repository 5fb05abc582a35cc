from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.e2e.house import WORK, result

from selfedit.models import tiny


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Where the tests themselves were started in the background, Ctrl-C is ignored, and everything they start would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of two layers."""
    return tiny("llama", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content hash of a run that nobody disturbed."""
    return str(result(tmp_path_factory.mktemp("undisturbed"), WORK)["content_hash"])
