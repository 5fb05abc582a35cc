"""The command line is light: help and configuration load nothing that is heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "plotly", "numpy", "safetensors", "huggingface_hub"}


@pytest.mark.parametrize(
    "code",
    [
        "import selfedit.config",
        "from selfedit.cli import main; main(['--help'])",
        "from selfedit.cli import main; main(['learn', '--help'])",
        "from selfedit.cli import main; main(['learn', 'nowhere.txt'])",
        "from selfedit.cli import main; main(['runs'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    ask = f"import sys; {code}; print('loaded:', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())
    assert not HEAVY & loaded


def test_every_variant_of_a_recipe_can_be_typed() -> None:
    from typing import get_args

    from selfedit.cli.flags import EngineFlags, RewardFlags
    from selfedit.config import EngineSettings, RewardSettings

    for flags, settings in ((EngineFlags, EngineSettings), (RewardFlags, RewardSettings)):
        variants = {variant.model_fields["type"].default for variant in get_args(get_args(settings)[0])}
        assert set(get_args(flags.model_fields["type"].annotation)) == variants


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m selfedit show recipe | true; {sys.executable} -m selfedit --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
