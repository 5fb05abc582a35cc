"""Worked questions.

1. They are short questions of general knowledge with short answers, each about something else, and none is a probe or an everyday prompt.
2. Where a recipe asks for them, every job trains on them, also that of a baseline, in the form in which questions are asked; else none does.
"""

from __future__ import annotations

import pytest

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import ConfigError
from selfedit.policy import Policy
from selfedit.retention import everyday
from selfedit.retention.probes import some
from selfedit.tasks.knowledge.worked import worked_questions
from selfedit.text import words
from selfedit.text.stopwords import STOPWORDS
from selfedit.types import Example


def test_they_are_about_nothing_that_is_measured() -> None:  # promise 1
    found = worked_questions()
    assert len(found) == len({one.prompt for one in found}) == len({one.text for one in found}) == 32
    assert all(one.prompt.startswith("Topic: ") and one.prompt.endswith("?") and len(one.text.split()) <= 3 for one in found)
    measured = [probe.question for probe in some()] + [one.prompt for part in ("gate", "check") for one in everyday(part)]
    said = [content(text) for text in measured]
    for one in found:
        asked = content(one.prompt.partition("\n")[2])
        assert not [text for text, other in zip(measured, said, strict=True) if len(asked & other) > max(1, 0.6 * len(asked))], one.prompt


def content(text: str) -> set[str]:
    """The words of a text that are no function words."""
    return {word.rstrip("s") for word in words(text) if word not in STOPWORDS}


def test_every_job_trains_on_them() -> None:  # promise 2
    policy = Policy(Fake(), parse_recipe({"inner": {"worked": 3}}))
    policy.worked = tuple(policy.domain.worked(3))
    examples = [Example("It is of larch.", "Of what is it?")]
    job = policy.job(examples, 0)
    assert job.data[1:] == tuple(policy.render.datum(one) for one in worked_questions()[:3])
    assert len(Policy(Fake(), parse_recipe({})).job(examples, 0).data) == 1
    with pytest.raises(ConfigError, match=r"inner\.worked"):
        parse_recipe({"inner": {"worked": -1}})
