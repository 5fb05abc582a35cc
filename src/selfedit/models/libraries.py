"""What other libraries print and raise, made fit to show."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its bars and warnings; what it was set to before comes back afterwards."""
    import transformers

    logging: Any = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """An error in one line; its kind where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
