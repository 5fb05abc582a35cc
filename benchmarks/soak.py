"""Months of use in minutes: learning, forgetting, rolling back and consolidating, with kills and a full disk in between: `python -m benchmarks.soak`.

A third of the commands runs undisturbed in this process, which lives as long as the soak. A third is killed with SIGKILL, at a random moment or at a
random look at a file; the others find the disk full, from a random write on or for files beyond a random length. After each command:

1. It ended as it ought: an error is one line and no bug.
2. What is in force is what was before, or what the command makes of it.
3. Every version that was kept and still is holds the same documents by the same adapters, whose files have their SHA-256, and can be gone back to.
4. What is found by words is what is in force. No two versions with one digest ever answered differently.
5. After an undisturbed change there is no file that no kept version needs, and no draft.
6. At the end: memory of this process and room on the disk were flat.

Choices follow from `--seed`; the moments of kills by time do not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.trouble import Ended, Kind, Trouble, prepare, troubled
from selfedit import api
from selfedit.errors import SelfeditError
from selfedit.library import Library, Version
from selfedit.library.force import named, opened
from selfedit.library.routing import candidates
from selfedit.system.console import Show
from selfedit.tasks.knowledge.split import bundled_corpus

OFTEN = {"learn": 0.45, "forget": 0.2, "rollback": 0.2, "consolidate": 0.1, "resume": 0.05}
Held = frozenset[tuple[str, str]]
"""Documents in force by adapter and id."""


@dataclass(frozen=True)
class State:
    """What a library holds, version by version."""

    versions: Mapping[int, tuple[Version, Held]]

    @classmethod
    def of(cls, library: Library) -> State:
        """Read from the disk."""
        return cls({one.number: (one, held(library, one.number)) for one in library.history()})

    @property
    def last(self) -> int:
        """The version in force, 0 for none."""
        return max(self.versions, default=0)

    @property
    def now(self) -> Held:
        """What is in force."""
        return self.versions[self.last][1] if self.versions else frozenset()


@dataclass(frozen=True)
class Command:
    """What a command of that name does below `runs`, without the report. `which` is a document, a version, or a run that is taken up."""

    action: str
    runs: Path
    which: str = ""
    files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False

    def __call__(self) -> int:
        """Do it. Returns the exit code; an error is one line on standard error."""
        watch = Show(quiet=True)
        try:
            if self.action == "forget":
                opened(self.runs).forget([one.id for one in named(opened(self.runs), [self.which])], self.which)
            elif self.action == "rollback":
                opened(self.runs).rollback(int(self.which) if self.which else None)
            elif self.action == "consolidate":
                api.consolidate(keep=self.keep, folder=self.runs, watch=watch)
            else:
                api.learn(self.files, resume=self.which or None, keep=self.keep, folder=self.runs, watch=watch, **self.settings)
        except SelfeditError as error:
            print(f"selfedit: {error}", file=sys.stderr)
            return error.exit_code
        return 0


@dataclass
class Soak:
    """A library that is put through it, below `folder`."""

    folder: Path
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=lambda: {"engine": "fake"})
    keep: int = 8
    documents: int = 12
    fill: bool = False
    usual: dict[str, Ended] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = self.folder / "runs"
        self.library = Library(self.runs)
        self.passages = bundled_corpus("train")[: self.documents]
        self.runs.mkdir(parents=True, exist_ok=True)
        for n, one in enumerate(self.passages):
            row = {"title": one.title, "context": one.context, "questions": [{"question": q.question, "answer": q.answer} for q in one.questions]}
            (self.folder / f"{n}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def step(self, number: int) -> dict[str, Any]:
        """One command, and all that has to be so after it. Raises AssertionError where it is not."""
        rng, before = random.Random(f"{self.seed} {number}"), State.of(self.library)
        command = self.choice(rng, before)
        action, trouble = command.action, self.trouble(rng, command.action)
        ended = self.undisturbed(command) if trouble.kind == "none" and action in self.usual else troubled(command, self.folder, trouble)
        self.usual.setdefault(action, ended)
        what = f"step {number}: {command}; {trouble}; {ended}"
        try:
            well(ended, trouble)
            after = State.of(self.library)
            lawful(command, before, after)
            whole(self.library, after)
            self.restore(rng, after)
            if trouble.kind == "none" and after.last > before.last and action in ("learn", "consolidate"):
                tidy(self.library, after, self.keep)
            self.ask(rng)
        except Exception as error:
            raise AssertionError(f"{what}: {error}") from error
        row = {"step": number, "action": action, "trouble": trouble.kind, "code": ended.code, "changed": after.last - before.last}
        self.rows.append({**row, "versions": len(after.versions), "documents": len(after.now), **self.room()})
        return self.rows[-1]

    def choice(self, rng: random.Random, state: State) -> Command:
        """An action that makes sense now."""
        unfinished = sorted(self.runs.glob("*-learn-*/ledger.db"))
        action = rng.choices([*OFTEN], [*OFTEN.values()])[0]
        if action == "resume" and unfinished:
            return Command("learn", self.runs, unfinished[0].parent.name)
        for run in self.runs.glob("*-*-*"):  # runs may be deleted
            shutil.rmtree(run)
        if action == "forget" and state.now:
            return Command(action, self.runs, rng.choice(sorted(state.now))[1])
        if action == "rollback" and state.versions:
            return Command(action, self.runs, rng.choice(["", str(rng.choice(sorted(state.versions)))]))
        if action == "consolidate" and state.now:
            return Command(action, self.runs, keep=rng.random() < 0.5)
        some = rng.sample(range(len(self.passages)), rng.choice([1, 1, 1, 2]))
        library = {"versions": self.keep, "group": rng.choice([0, 1])}
        settings = {**self.settings, "library": library, "seed": rng.randrange(3), "propose": {"candidates": 1}, "eval": {"baselines": []}}
        return Command("learn", self.runs, files=tuple(str(self.folder / f"{n}.jsonl") for n in some), settings=settings, keep=True)

    def trouble(self, rng: random.Random, action: str) -> Trouble:
        """What happens to it: the first time nothing, which says how long it takes."""
        kind: Kind = rng.choice(["none", rng.choice(["kill after", "kill at"]), rng.choice(["full at", "full" if self.fill else "full from"])])
        share, usual = rng.random(), self.usual.get(action)
        if usual is None or kind == "none":
            return Trouble()
        if kind == "kill after":
            return Trouble(kind, share * usual.wall_s)
        if kind in ("full", "full from"):
            return Trouble(kind, int(2 ** (10 + 12 * share)))
        return Trouble(kind, 1 + int(share * (usual.looks if kind == "kill at" else usual.changes)))

    def undisturbed(self, what: Command) -> Ended:
        """The command in this process."""
        err, began = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = what()
        return Ended(code, err.getvalue(), time.perf_counter() - began)

    def restore(self, rng: random.Random, state: State) -> None:
        """A copy of the library goes back to one of its versions."""
        if not state.versions:
            return
        copy, to = Library(self.folder / "copy"), rng.choice(sorted(state.versions))
        shutil.rmtree(copy.root, ignore_errors=True)
        shutil.copytree(self.library.folder, copy.folder, copy_function=lambda a, b: (os.link if a.endswith(".safetensors") else shutil.copy)(a, b))
        version = copy.rollback(to)
        assert version.digest == state.versions[to][0].digest and version.gate == state.versions[to][0].gate
        assert held(copy, version.number) == state.versions[to][1]
        shutil.rmtree(copy.root)

    def ask(self, rng: random.Random) -> None:
        """A question, whose answer depends on what is in force alone."""
        version = self.library.version()
        if version is None or not version.documents:
            return
        question = rng.choice(rng.choice(self.passages).questions).question
        said = api.ask(question, folder=self.runs, watch=Show(quiet=True))
        key = f"{version.digest} {json.dumps(dict(version.gate), sort_keys=True)} {question}"
        assert self.answers.setdefault(key, said.learned) == said.learned, f"{question} was answered otherwise before"

    def summary(self) -> dict[str, Any]:
        """How many commands there were, with what trouble, and how many of each changed something."""
        counts = Counter(f"{row['action']}, {row['trouble']}" for row in self.rows)
        changed = Counter(f"{row['action']}, {row['trouble']}" for row in self.rows if row["changed"])
        return {what: f"{changed[what]} of {n} changed something" for what, n in sorted(counts.items())}

    def room(self) -> dict[str, int]:
        """Resident memory of this process, of the library's folder, and files in it; bytes."""
        files = [file for file in self.library.folder.rglob("*") if file.is_file()]
        rss = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {"rss": rss, "disk": sum(file.stat().st_size for file in files), "files": len(files)}


def held(library: Library, number: int) -> Held:
    """What a version holds."""
    return frozenset((entry.id, document.id) for entry in library.entries(number) for document in entry.documents)


def well(ended: Ended, trouble: Trouble) -> None:
    """Promise 1."""
    lines = [line for line in ended.said.splitlines() if line and not line.startswith("  ")]
    assert "Traceback" not in ended.said and ended.code != 70, "a bug"
    if ended.code == -9:
        assert trouble.kind.startswith("kill"), "killed by nobody"
    elif ended.code:
        assert len(lines) == 1 and lines[0].startswith("selfedit: "), "not one line"
        refused = "roll back" in lines[0] or "there is no version" in lines[0]
        assert refused or trouble.kind.startswith("full"), "failed without a reason"


def lawful(command: Command, before: State, after: State) -> None:
    """Promises 2 and 3, of records."""
    if after.last == before.last:
        assert after == before, "a version has changed"
        return
    assert after.last == before.last + 1, "more than one change"
    kept = before.versions.keys() & after.versions.keys()
    assert all(before.versions[number] == after.versions[number] for number in kept), "a version has changed"
    assert sorted(after.versions) == list(range(min(after.versions), after.last + 1)), "a version is missing"
    old, new = ({document for _, document in state.now} for state in (before, after))
    if command.action == "forget":
        assert after.now == {one for one in before.now if one[1] != command.which}, "forgot something else"
    elif command.action == "rollback":
        targets = [before.versions[int(command.which)][1]] if command.which else [one[1] for one in before.versions.values()]
        assert after.now in targets or (not after.now and min(before.versions) == 1), "went back to what never was"
    elif command.action == "consolidate":
        assert old == new and len({entry for entry, _ in after.now}) == 1, "consolidated something else"
    else:
        assert old <= new and len(after.now - before.now) <= 2 and len(new) == len(after.now), "learned something else"
        assert {one for one in before.now if one[1] not in {document for _, document in after.now - before.now}} <= after.now, "changed another"


def whole(library: Library, state: State) -> None:
    """Promises 3 and 4, of files and words."""
    for version, held in state.versions.values():
        for entry in {entry for entry, _ in held}:
            library.check(entry)
        assert version.documents == len(held), "documents are counted wrongly"
        assert version.digest == hashlib.sha256("\n".join(f"{entry} {one}" for entry, one in sorted(held)).encode()).hexdigest(), "another digest"
    if not state.versions:
        return
    with library.reading() as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok", "damaged"
    for one in library.documents():
        assert one.id in {found.document.id for found in candidates(library, [one.title], most=100)[0]}, f"{one.title} is not found"
    found = {one.document.id for some in candidates(library, [one.context for one in library.documents()], most=100) for one in some}
    assert found == {document for _, document in state.now}, "what is forgotten is found"


def tidy(library: Library, state: State, keep: int) -> None:
    """Promise 5."""
    needed = {entry for _, held in state.versions.values() for entry, _ in held}
    assert {folder.name for folder in library.adapter("").iterdir()} == needed, "an adapter that nobody needs"
    assert {file.name for file in library.folder.iterdir()} == {"adapters", "library.db", "library.lock"}, "a draft is left"
    assert len(state.versions) <= keep, "more versions than are kept"


def flat(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """The most memory, disk and files in each half of the time after the library first held the most documents, at least of the last half of all.

    Before that it has to grow, and its database keeps the room. Raises AssertionError where one has grown by a fifth.
    """
    full = rows[min(len(rows) // 2, max(range(len(rows)), key=lambda n: rows[n]["documents"])) :]
    parts = full[: len(full) // 2], full[len(full) // 2 :]
    found = {key: (max(row[key] for row in parts[0]), max(row[key] for row in parts[1])) for key in ("rss", "disk", "files")}
    assert all(later <= 1.2 * earlier for earlier, later in found.values()), f"it grows: {found}"
    return found


def main() -> None:
    """Go through it, and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="a tiny random model, `tiny`, or any other; without one, the fake engine")
    parser.add_argument("--folder", type=Path, help="where to work; a new folder for the time being")
    parser.add_argument("--fill", action="store_true", help="the folder is on a small disk of its own, which may be filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfedit-soak-") as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        if args.fill and shutil.disk_usage(folder).free > 2**30:
            parser.error(f"--fill: {folder} is on a large disk")
        settings: dict[str, Any] = {"engine": "fake"}
        if args.model:
            from selfedit.models import tiny

            model = str(tiny("llama", Path(scratch) / "tiny")) if args.model == "tiny" else args.model
            settings = {"model": model, "engine": {"threads": 1}, "inner": {"replay": 2, "worked": 2, "epochs": 1}}
        prepare(torch=bool(args.model))
        soak = Soak(folder / "soak", args.seed, settings, fill=args.fill)
        for number in range(args.steps):
            print(json.dumps(soak.step(number)), flush=True)
    print(json.dumps(soak.summary() | (flat(soak.rows) if args.steps >= 100 else {})))


if __name__ == "__main__":
    main()
