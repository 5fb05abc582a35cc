"""Ctrl-C, so that no library can swallow it: some turn it into an error of their own, some go on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfedit.errors import Interrupted

_asked = threading.Event()


def asked() -> bool:
    """Whether Ctrl-C was pressed since this command began."""
    return _asked.is_set()


def check() -> None:
    """Stop here if Ctrl-C was pressed and something swallowed it."""
    if asked():
        raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[None]:
    """The first Ctrl-C lets everything close in order; a second one does not wait for that."""
    _asked.clear()
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, _on_signal)
    try:
        yield
    finally:
        _asked.clear()
        if ours:
            signal.signal(signal.SIGINT, before)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if asked():
        os._exit(130)
    _asked.set()
    raise KeyboardInterrupt


@contextmanager
def heard() -> Iterator[None]:
    """An error that came of Ctrl-C leaves as KeyboardInterrupt again."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        if asked():
            raise KeyboardInterrupt from error
        raise
