"""Settings of the process that look like slow code when they are missing. Called before torch loads; SELFEDIT_TUNE=0 leaves everything as it is."""

from __future__ import annotations

import ctypes
import os
import sys

_MALLOPT = {"M_TRIM_THRESHOLD": (-1, 2**30), "M_TOP_PAD": (-2, 2**28), "M_MMAP_MAX": (-4, 0)}
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve each other as soon as anything else runs
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "2048",  # ragged batches make many shapes; each is compiled once, and takes about 1 MB
    "TOKENIZERS_PARALLELISM": "false",
}


def tune() -> None:
    """Keep freed memory for the next step instead of giving it back to the system, and let idle threads sleep."""
    if os.environ.get("SELFEDIT_TUNE") == "0":
        return
    for name, setting in _ENVIRONMENT.items():
        os.environ.setdefault(name, setting)
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, other C libraries do not
    if mallopt is not None:
        for option, value in _MALLOPT.values():
            mallopt(option, value)
