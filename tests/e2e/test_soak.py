"""Commands that are killed and find the disk full, one after another on one library: `python -m benchmarks.soak`, in short.

1. Sixteen steps keep all that a soak promises, and no trouble is left out.
2. What a soak looks for it finds: a version that changed, an adapter that did, a file that nobody needs, memory that grows.
3. Two that learn at the same time both succeed: the second waits, and both documents are in force.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.soak import Command, Soak, State, flat, lawful, tidy, whole
from benchmarks.trouble import Trouble, prepare, troubled

from selfedit.errors import LedgerError
from selfedit.library import Library


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    prepare(torch=False)
    soak = Soak(tmp_path_factory.mktemp("soak"), seed=3, keep=4, documents=4)
    for number in range(16):
        soak.step(number)
    return soak


def test_sixteen_steps(soaked: Soak) -> None:  # promise 1
    assert {row["trouble"].split(" ")[0] for row in soaked.rows} == {"none", "kill", "full"}
    assert sum(row["changed"] for row in soaked.rows) >= 6 and {row["code"] for row in soaked.rows} >= {0, -9, 6}


def test_what_it_finds(soaked: Soak) -> None:  # promise 2
    state = State.of(soaked.library)
    version, held = state.versions[state.last]
    other = State({**state.versions, state.last: (replace(version, digest="other"), held)})
    for before, after in ((other, state), (state, other)):
        with pytest.raises(AssertionError, match="a version has changed"):
            lawful(Command("learn", soaked.runs), before, after)
    with pytest.raises(AssertionError, match="another digest"):
        whole(soaked.library, other)
    soaked.library.adapter("left").mkdir()
    with pytest.raises(AssertionError, match="an adapter that nobody needs"):
        tidy(soaked.library, state, soaked.keep)
    [name, *_] = [entry.id for number in state.versions for entry in soaked.library.entries(number)]
    (soaked.library.adapter(name) / "adapter_config.json").write_text("{ }", encoding="utf-8")
    with pytest.raises(LedgerError, match="no longer what was learned"):
        whole(soaked.library, state)
    filling = [{"rss": 100 + 3 * min(n, 50), "disk": 5, "files": 3, "documents": min(n, 50)} for n in range(100)]
    assert flat(filling) == {"rss": (250, 250), "disk": (5, 5), "files": (3, 3)}
    with pytest.raises(AssertionError, match="it grows"):
        flat([row | {"rss": 100 + 3 * n} for n, row in enumerate(filling)])


def test_two_at_once(tmp_path: Path) -> None:  # promise 3
    soak = Soak(tmp_path / "soak", documents=2)
    both = [Command("learn", soak.runs, files=(str(soak.folder / f"{n}.jsonl"),), settings=soak.settings) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda one: troubled(one, soak.folder, Trouble()), both))
    assert [one.code for one in ended] == [0, 0]
    assert {document.title for document in Library(soak.runs).documents()} == {one.title for one in soak.passages}
    assert [(one.number, one.documents) for one in Library(soak.runs).history()] == [(1, 1), (2, 2)]
