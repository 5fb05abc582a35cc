"""An adapter that is no longer the one that its run recorded is never used.

1. `ask`, `export`, putting it in force, measuring a policy and going on with a run refuse it in one line, also where two were swapped.
2. `export` of a run that has no adapter of documents says what the run has, and what to do with it.
3. Two measurements of one policy from different folders have one content hash.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.cli.house import CORPUS, QUICK, House

from selfedit.ledger import Ledger
from selfedit.library import Library
from selfedit.types import Artifact

TRAIN = ("train", *QUICK, "--json", "--quiet")


def train(house: House, *more: str) -> Path:
    found = json.loads(house.fine(*TRAIN, *more).splitlines()[-1])
    return Path(found["folder"]).resolve()


def changed(adapter: Path) -> None:
    """One byte of its weights is another."""
    weights = adapter / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)


def test_what_was_learned(house: House) -> None:  # promise 1
    first, second = house.learn()["run"], house.learn("--seed", "1")["run"]
    library = Library(house.folder / "runs")
    for entry in library.entries():
        changed(entry.folder)  # linked with those of the run
    words = "no longer what was learned, by its SHA-256: restore it"
    asked = ("ask", "Who?", "--topic", "Odwin Marrack", "--quiet")
    assert words in house.refused(*asked) and words in house.refused(*asked, "--run", second)
    assert words in house.refused("export", second, "mine") and not Path("mine").exists()
    house.fine("rollback")
    assert words in house.refused("learn", "--resume", second, "--keep", "--quiet")
    assert {entry.run for entry in library.entries()} == {first}
    house.fine(*asked)
    for entry in library.entries():
        shutil.rmtree(entry.folder)
    assert "is gone: restore" in house.refused(*asked)
    house.fine(*asked, "--run", first)  # the run has its own


def test_a_policy(house: House) -> None:  # promise 1
    run = train(house, "--rounds", "2")
    (run / "policy" / "round-1").rename(run / "policy" / "third")
    (run / "policy" / "round-2").rename(run / "policy" / "round-1")
    (run / "policy" / "third").rename(run / "policy" / "round-2")
    assert house.refused("eval", "--policy", "latest", "--quiet").startswith(f"6 adapter policy/round-1 of run {run.name} is no longer the one")


@pytest.mark.parametrize("command", [("learn", *QUICK), TRAIN[:-2], (*TRAIN[:-2], "--cold-start.enabled"), (*TRAIN[:-2], "--algorithm", "grpo")])
def test_going_on(house: House, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]) -> None:  # promise 1
    step = Ledger.step

    def stopping(self: Ledger, name: str, kind: type, compute: object) -> object:
        found = step(self, name, kind, compute)  # type: ignore[arg-type]
        if kind is Artifact:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "step", stopping)
        documents = (str(CORPUS),) if command[0] == "learn" else ()
        assert house.type(command[0], *documents, *command[1:], "--quiet")[0] == 130
    [run] = (house.folder / "runs").glob("2*")
    with house.reader(run.name) as reader:
        artifact = reader.artifacts()[0]
    changed(run / artifact.path)
    line = house.refused(command[0], "--resume", run.name, "--quiet")
    assert line.startswith(f"6 adapter {artifact.name} of run {run.name} is no longer the one that the run recorded")
    changed(run / artifact.path)  # back again
    house.fine(command[0], "--resume", run.name, "--quiet")


def test_a_run_without_an_adapter_of_documents(house: House) -> None:  # promise 2
    run = train(house, "--rounds", "2", "--cold-start.enabled")
    line = house.refused("export", run.name, "mine")
    assert f"run {run.name} is one of `selfedit train`, which makes a policy" in line and f"`selfedit eval --policy {run.name}`" in line
    assert f"Its adapters are in {Path('runs', run.name)}, in PEFT's format" in line and line.endswith(
        ": policy/cold_start, then policy/round-1, then policy/round-2"
    )
    assert line == house.refused("ask", "Who?", "--run", run.name)
    measured = json.loads(house.fine("eval", "--policy", run.name, "--json", "--quiet").splitlines()[-1])["run"]
    assert f"run {measured} is one of `selfedit eval`, which leaves no adapter; runs of `selfedit learn` do" in house.refused(
        "export", measured, "mine"
    )
    assert not Path("mine").exists()


def test_the_hash_holds_no_places(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    hashes = []
    for name in ("here", "there/and/deeper"):
        folder = house.folder / name
        folder.mkdir(parents=True)
        shutil.copy(CORPUS, folder / "docs.jsonl")
        monkeypatch.chdir(folder)
        run = train(house, "--docs", "docs.jsonl", "--rounds", "1", "--runs", f"runs-{len(hashes)}")
        found = json.loads(house.fine("eval", "--policy", str(run), "--json", "--quiet", "--runs", "measured").splitlines()[-1])
        monkeypatch.chdir(house.folder)
        again = json.loads(house.fine("eval", "--policy", str(run), "--json", "--quiet").splitlines()[-1])
        hashes += [found["content_hash"], again["content_hash"]]
    assert len(set(hashes)) == 1
    other = train(house, "--rounds", "1", "--seed", "5")
    assert json.loads(house.fine("eval", "--policy", str(other), "--seed", "0", "--json", "--quiet").splitlines()[-1])["content_hash"] not in hashes
