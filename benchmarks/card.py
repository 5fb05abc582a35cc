"""The first minutes on a GPU: what it is, whether the engine is right on it, and how fast: `python -m benchmarks.card`.

Each part is a process with a time limit of its own, the important ones first. One that fails says why, and the others go on. Everything that is
printed and every result is written to a folder, part by part, so that nothing is lost where time runs out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FACTS = "import json, sys; from benchmarks import machine; print(json.dumps(machine.facts(sys.argv[1]), indent=1))"
LEAST_S = 5
"""Seconds. A part that has fewer left is not started."""


@dataclass(frozen=True)
class Part:
    """A command and the seconds that it may take."""

    name: str
    seconds: int
    command: Sequence[str]


def parts(device: str, models: Sequence[str], quick: bool, out: Path) -> Iterator[Part]:
    """Facts, proofs, then the benchmarks: of the first model all, of the others training and its share of the device's arithmetic."""
    python = sys.executable
    if device.startswith("cuda"):
        yield Part("driver", 20, ["nvidia-smi"])
    yield Part("facts", 60, [python, "-c", FACTS, device])
    yield Part("tests", 120, [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests/unit/engine/test_cuda.py"])
    for model in models:
        first = model == models[0]
        for only, graphs in (("together", "auto"), ("together", "off"), ("sampling,scoring,profile", "auto"), ("sampling", "off")):
            if first or (only, graphs) == ("together", "auto"):
                name = f"{model}-{only.replace(',', '-')}-graphs-{graphs}"
                asked = ["--device", device, "--model", model, "--only", only, "--graphs", graphs, "--output", str(out / f"{name}.json")]
                yield Part(name, 120, [python, "-m", "benchmarks", *asked, *(["--quick"] if quick else [])])


def run(part: Part, seconds: float, out: Path, packages: str) -> str:
    """What became of a part. What it printed is shown, and stands in a file of its name."""
    path = os.pathsep.join(one for one in (packages, "src", str(Path.cwd()), os.environ.get("PYTHONPATH", "")) if one)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    log = out / f"{part.name}.log"
    with log.open("w", encoding="utf-8") as file:
        try:
            code = subprocess.run(part.command, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        except OSError as error:
            return f"did not start: {error}"
    print(log.read_text(encoding="utf-8")[-6000:], flush=True)
    return "its time was up" if code is None else "done" if code == 0 else f"failed with exit code {code}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Part by part, as long as there is time. Exits with 1 unless all were done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu to try it without a GPU")
    parser.add_argument("--models", nargs="+", default=["random-135m", "random-1b", "random-7b"], help="as `python -m benchmarks --model`")
    parser.add_argument("--seconds", type=int, default=540, help="for everything")
    parser.add_argument("--quick", action="store_true", help="less of every benchmark")
    parser.add_argument("--out", type=Path, default=Path("card"), help="where everything is written")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels that are put before what is installed, on a machine without a network")
    args = parser.parse_args(arguments)
    begun, done = time.monotonic(), {}
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as packages:
        for wheel in sorted(args.wheels.glob("*.whl")) if args.wheels else []:
            zipfile.ZipFile(wheel).extractall(packages)
        for part in parts(args.device, args.models, args.quick, args.out):
            left = args.seconds - (time.monotonic() - begun)
            print(f"== {part.name}: {left:.0f} s left", flush=True)
            done[part.name] = run(part, min(left, part.seconds), args.out, packages) if left >= LEAST_S else "left out: no time"
    print("\n".join(f"{name}: {became}" for name, became in done.items()))
    sys.exit(int(any(became != "done" for became in done.values())))


if __name__ == "__main__":
    main()
