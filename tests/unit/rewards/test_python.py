"""A user's own function: found early or refused in one line, and its failures are nobody's zero."""

from __future__ import annotations

import pytest
from tests.unit.rewards.made import Notes, answer, edit, opened, question, task

from selfedit.errors import ConfigError
from selfedit.rewards import Measured
from selfedit.types import Reward

HERE = "tests.unit.rewards.made"
MEASURED = Measured(task(question("a")), edit("one", "two"), answers=(answer("a", True),), base_answers=(answer("a", False),))


def score(name: str) -> Reward:
    [found] = opened("python", function=f"{HERE}:{name}").score([MEASURED], Notes())
    return found


def test_it_is_given_the_task_the_edit_and_both_answers() -> None:
    assert score("examples") == Reward(3.0, "python")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", f"{HERE}:none gave no reward"),
        ("fails", f"{HERE}:fails failed: ZeroDivisionError: by zero"),
        ("infinite", f"{HERE}:infinite gave inf, not a finite number"),
        ("words", f"{HERE}:words gave 'good', not a finite number"),
    ],
)
def test_what_is_no_reward_is_unscored(name: str, reason: str) -> None:
    assert score(name) == Reward(None, "python", reason)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("", "write package.module:function, not ''"),
        ("os.system", "write package.module:function"),
        ("posix:system", "is no Python function"),
        ("builtins:exec", "is no Python function"),
        (f"{HERE}:nothing", "cannot be imported (AttributeError"),
        ("nowhere.at_all:f", "cannot be imported (ModuleNotFoundError"),
        (f"{HERE}:too_few", "has to take (task, edit, answers, base_answers); it takes (task:"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_else(function: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        opened("python", function=function).depends_on()
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_file_it_stands_in_is_noted() -> None:
    noted = opened("python", function=f"{HERE}:examples").depends_on()
    assert noted["function"] == f"{HERE}:examples" and len(noted["sha256"]) == 64
