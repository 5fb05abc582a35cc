"""Which adapter is in force.

1. A push puts a head in force, a rollback the one before it, down to the model as it came; then there is nothing to roll back.
2. The history only grows, and says which adapter another one replaced.
3. Killed at any moment, the file is whole; processes that push together lose nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfedit.errors import LedgerError
from selfedit.ledger import Head, Heads

A, B, C = (Head(name, f"{name}/adapter") for name in "abc")
PUSHER = """
import sys
from pathlib import Path
from selfedit.ledger import Head, Heads
heads, name, many = Heads(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for number in range(many):
    heads.push(Head(f"{name}{number}", "adapter"))
    print(number, flush=True)
"""


def test_push_and_rollback(tmp_path: Path):
    heads = Heads(tmp_path / "runs")
    assert heads.current() is None
    with pytest.raises(LedgerError, match="nothing to roll back"):
        heads.rollback()
    heads.push(A)
    heads.push(B)
    assert heads.current() == B
    assert heads.rollback() == A
    heads.push(C)
    assert Heads(tmp_path / "runs").current() == C
    assert heads.rollback() == A
    assert heads.rollback() is None
    assert heads.current() is None
    with pytest.raises(LedgerError, match="nothing to roll back"):
        heads.rollback()
    assert [(change.action, change.head) for change in heads.history()] == [
        ("push", A),
        ("push", B),
        ("rollback", A),
        ("push", C),
        ("rollback", A),
        ("rollback", None),
    ]


def test_what_was_replaced_is_known(tmp_path: Path):  # promise 2
    heads = Heads(tmp_path)
    heads.push(A)
    heads.push(B)
    heads.rollback()
    heads.push(C)
    assert [heads.replaced(name) for name in "abcd"] == [None, A, A, None]


def test_the_same_head_twice_is_rolled_back_twice(tmp_path: Path):
    heads = Heads(tmp_path)
    heads.push(A)
    heads.push(A)
    assert heads.rollback() == A
    assert heads.rollback() is None


@pytest.mark.parametrize("content", ["", "{}", '{"history": [{}]}', "[1]", '{"history": [{"at": "", "action": "push", "head": {"x": 1}}]}'])
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, content: str):
    (tmp_path / "heads.json").write_text(content)
    with pytest.raises(LedgerError, match="is damaged"):
        Heads(tmp_path).current()


def test_killed_at_any_moment_the_file_is_whole(tmp_path: Path):
    for delay_s in (0.0, 0.003, 0.01):
        process = subprocess.Popen([sys.executable, "-c", PUSHER, tmp_path, "h", "100000"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()
        said = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        acknowledged = int(said[-1]) if said else 0
        assert int(Heads(tmp_path).history()[-1].head.run_id[1:]) in (acknowledged, acknowledged + 1)


def test_processes_that_push_together_lose_nothing(tmp_path: Path):
    processes = [subprocess.Popen([sys.executable, "-c", PUSHER, tmp_path, name, "20"], stdout=subprocess.DEVNULL) for name in "xy"]
    assert [process.wait() for process in processes] == [0, 0]
    pushed = [change.head.run_id for change in Heads(tmp_path).history()]
    assert sorted(pushed) == sorted(f"{name}{number}" for name in "xy" for number in range(20))
