"""The adapters' own answers to fresh questions as training data.

1. An answer is learned where enough of an adapter's answers say the same and most answers with the passage in view agree, in either direction.
2. Fresh questions ask for nothing that the task asks for; what is learned stands in the library with its document, and reward questions never do.
3. The row without harvest is trained for as many tokens, to an epoch.
4. A domain that writes no questions says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import selfedit
from selfedit.config import Harvest
from selfedit.errors import ConfigError
from selfedit.ledger import Reader
from selfedit.library import Library
from selfedit.loop.harvest import decide
from selfedit.parts import Settings
from selfedit.tasks.base import Domain
from selfedit.tasks.knowledge.split import same
from selfedit.types import Question

MILL = "Ada Wrenfield built the mill at Horsley in 1802. It stands on the river Tove. Its wheel is 6 metres high. The mill closed in 1924."
ASKED = {"Who built the mill at Horsley?": "Ada Wrenfield", "When did the mill close?": "1924"}


@pytest.mark.parametrize(
    ("drawn", "shown", "answer", "reason"),
    [
        (["In 1802.", "in 1802", "1802, in May", "In 1802"], ["It was in 1802.", "1802", "1900"], "In 1802.", ""),
        (["In 1802.", "1803", "In 1802.", "1803"], ["1802"], "", "its answers do not agree"),
        (["In 1802.", "1803", "1804", "In 1802."], ["1802"], "", "its answers do not agree"),
        (["I do not know.", "", "I cannot say"], ["1802"], "", "no answer can be read"),
        (["In 1802"] * 4, ["1924", "1802", "1924"], "In 1802", "the passage does not confirm it"),
        (["Ada Wrenfield built it"] * 4, ["Ada Wrenfield", "Ada Wrenfield", "a miller"], "Ada Wrenfield built it", ""),
    ],
)
def test_decisions(drawn: list[str], shown: list[str], answer: str, reason: str) -> None:  # promise 1
    found = decide(Harvest(questions=1), drawn, shown)
    assert (found.answer, found.reason) == (answer, reason)


def test_a_run(tmp_path: Path) -> None:  # promises 2 and 3
    file = tmp_path / "mill.jsonl"
    questions = [{"question": question, "answer": answer} for question, answer in ASKED.items()]
    file.write_text(json.dumps({"title": "The mill", "context": MILL, "questions": questions}))
    run = selfedit.learn([file], engine="fake", harvest={"questions": 6}, folder=tmp_path / "runs")
    with Reader(run.folder) as reader:
        found, rows = reader.harvested(), {result.row: result for result in reader.results()}
    fresh, learned = [one for one in found if not one.known], [one for one in found if one.used]
    assert fresh and learned and len(found) - len(fresh) == 1
    assert not any(same(Question(one.question, one.answer), Question(*pair), "The mill") for one in fresh for pair in ASKED.items())
    [document] = Library(run.folder).documents()
    assert {one.answer for one in learned} <= {example.text for example in document.examples if example.prompt}
    assert not any(question in example.prompt for question in ASKED for example in document.examples)
    assert abs(rows["without_harvest"].tokens - rows["after"].tokens) < 0.5 * rows["after"].tokens / 6


def test_domains_without_questions() -> None:  # promise 4
    with pytest.raises(ConfigError, match=r"writes no questions of its own: leave harvest\.questions at 0"):
        Domain(Settings()).fresh(None, [], 1, lambda done, whole: None)  # type: ignore[arg-type]
