"""What is shown while work goes on.

1. In a terminal a bar moves, says how much is done and how long is left, and leaves one line; in a log there is a line now and then.
2. When work goes on to its next part, the bar begins again.
3. Nothing is shown when quiet; results go to standard output, or to standard error where that is left to JSON.
4. A reader that goes away stops nothing; Ctrl-C that something swallowed stops at the next stage.
5. Text of the user is never markup.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from selfedit.system import console as module
from selfedit.system import interrupts as stop
from selfedit.system.console import Show, console, share, time_left
from selfedit.text import duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    terminal, clock = Terminal(), Clock(monkeypatch)
    monkeypatch.setattr("sys.stderr", terminal)
    with Show().stage("Training [x]") as progress:
        progress(0, 40)
        clock.now += 10
        progress(10, 40)
        bars = progress.bars  # type: ignore[attr-defined]
        assert bars.tasks[0].fields == {"share": " 25 %", "left": "30 s left"}
        bars.refresh()
        progress(0, 8)
        assert bars.tasks[0].fields == {"share": "  0 %", "left": ""}
        clock.now += 4
        progress(4, 8)
        assert bars.tasks[0].fields["left"] == "4.0 s left"
    text = terminal.getvalue()
    assert "Training [x]" in text and " 25 %" in text and "Training [x]: 14 s" in text


def test_a_log_shows_life(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with Show().stage("Training") as progress:
        for done in range(4):
            clock.now += 20
            progress(done, 10)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "  Training: 10 %, 40 s, 6 min 00 s left",
        "  Training: 30 %, 1 min 20 s, 3 min 07 s left",
        "✓ Training: 1 min 20 s",
    ]


def test_the_time_left_is_that_of_the_part_at_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with Show().stage("Training") as progress:
        for done, total in ((10, 10), (0, 40), (20, 40)):
            clock.now += 40
            progress(done, total)
    assert capsys.readouterr().err.splitlines()[2] == "  Training: 50 %, 2 min 00 s, 40 s left"


def test_quick_stages_and_quiet_ones_leave_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Show().stage("Quick") as progress:
        progress(1, 1)
    with Show(quiet=True).stage("Quiet") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_results_have_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    Show().fact("run", "[bold]a[/]")
    out, err = capsys.readouterr()
    assert out == "run        [bold]a[/]\n" and err == ""
    Show(json=True).table(["a", "b"], [["[red]x", "1"]])
    out, err = capsys.readouterr()
    assert out == "" and "[red]x" in err


def test_a_reader_that_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        shown = Show()
        shown.say("is anybody there?")
        shown.say("nobody")
        with shown.stage("Work goes on"):
            pass
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # for what is still in its buffer


def test_ctrl_c_that_was_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "asked", lambda: True)
    with pytest.raises(KeyboardInterrupt), Show().stage("Next"):
        pytest.fail("it went on")


def test_long_sentences_are_wrapped_and_paths_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    shown = Show()
    shown.out = console(stream)
    path = str(Path("/", *["folder"] * 12))
    shown.fact("report", path)
    shown.line("16.7\u202f% of words " * 6)
    plain = stream.getvalue()
    assert path in plain and all("16.7\u202f%" in line for line in plain.splitlines() if "16.7" in line)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_time_left() -> None:
    assert time_left(0, 10, 100) == time_left(10, 10, 100) == time_left(3, 10, 0.5) == ""
    assert time_left(1, 4, 20) == "1 min 00 s left"
    assert share(None) == "–" and share(0.5) == "50.0 %"
