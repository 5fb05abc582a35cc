"""Questions of general knowledge with short answers, written for this project.

A model that is trained on a passage alone recites it. Beside a few of these it answers in the form that is wanted (pre-instruction tuning, arXiv
2402.12847, teaches the form of questions before documents). All of it is widely known: training on answers that a model cannot know teaches it to
make things up (arXiv 2405.05904). None of it is among the probes or the everyday prompts.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from selfedit.text import ask
from selfedit.types import Example


@cache
def worked_questions() -> tuple[Example, ...]:
    """All 32, as a question about a document is put."""
    lines = resources.files("selfedit").joinpath("data/worked.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Example(one["answer"], prompt=ask(one["topic"], one["question"])) for one in map(json.loads, lines))
