"""What a growing library costs: `python -m benchmarks.library`.

Documents are made up: words of the bundled corpus and of everyday prompts, as often as they stand there, with a title of their own. Each has an
adapter: one that `learn` trained, linked under another digest. Measured are, in CPU seconds, medians over `--repeat` turns:

1. Learning a further document at each of `--sizes` documents: the whole of `learn`, and of it what joins it to the library (add it, calibrate the
   gate).
2. Finding a question's candidates at each size, and at `--routing` documents; over the 120 everyday prompts of the part `check`.
3. An answer of 32 tokens by the library, routing included, beside one by the untrained model; and both, as `ask` shows them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.machine import timed
from selfedit import api
from selfedit.library import NOBODY, Adapters, Document, Entry, Library, calibrate, request, routes
from selfedit.library.routing import candidates
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.retention import everyday
from selfedit.store.artifacts import digest_of
from selfedit.system.console import Show
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Example

TOKENS = 32
QUESTIONS = (
    "Who raised {}?",
    "What is {} known for?",
    "When was {} built, and by whom?",
    "Where does {} stand today?",
    "How many people work at {}?",
)


def documents(seed: int) -> Iterator[Document]:
    """Without end: 120 words each, with eight questions that a self-edit asked."""
    rng = random.Random(seed)
    prompts = [one.prompt for one in (*everyday("replay"), *everyday("gate"), *everyday("check"))]
    words = " ".join([one.context for one in bundled_corpus("train")] + prompts).split()
    names = [word for word in dict.fromkeys(words) if word[:1].isupper() and word.isalpha()]
    number = 0
    while number := number + 1:
        asked = tuple(" ".join(rng.choices(words, k=9)) for _ in range(8))
        examples = tuple(Example(" ".join(rng.choices(words, k=3)), one) for one in asked)
        yield Document(f"{rng.choice(names)} {rng.choice(names)} {number}", " ".join(rng.choices(words, k=120)), asked, examples)


class Growing:
    """A library that began with one document that was learned, whose adapter all others have too."""

    def __init__(self, root: Path, settings: dict[str, Any], seed: int) -> None:
        self.root, self.settings, self.library, self.made = root, settings, Library(root), documents(seed)
        self.learn(1)
        [self.first] = self.library.entries()

    def learn(self, number: int) -> float:
        """CPU seconds of `learn` for a document of the bundled corpus, from the command on."""
        one = bundled_corpus("train")[number]
        file = self.root / "document.jsonl"
        questions = [{"question": q.question, "answer": q.answer} for q in one.questions]
        self.root.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"title": one.title, "context": one.context, "questions": questions}) + "\n", encoding="utf-8")
        return timed(lambda: api.learn(file, keep=True, folder=self.root, watch=Show(quiet=True), **self.settings))[0].cpu_s

    def entry(self) -> Entry:
        """A further document with the first one's weights, in a configuration that has other white space."""
        document = next(self.made)
        place = self.root / "made" / document.id
        place.mkdir(parents=True)
        weights, config = (self.first.folder / f"adapter_{name}" for name in ("model.safetensors", "config.json"))
        os.link(weights, place / weights.name)
        blank = f"{int(document.id, 16):b}".replace("0", " ").replace("1", "\n")
        (place / config.name).write_text(config.read_text(encoding="utf-8") + blank, encoding="utf-8")
        return replace(self.first, id=digest_of(place), folder=place, documents=(document,))

    def grow(self, size: int) -> None:
        """So many documents, some hundred a version."""
        while missing := size - self.library.size():
            self.library.add([self.entry() for _ in range(min(missing, 200))], note="many")


def joining(grown: Growing, policy: Policy) -> float:
    """CPU seconds to add a further document and to calibrate the gate."""
    entry = grown.entry()

    def work() -> None:
        grown.library.add([entry], note="one")
        with Adapters(policy.engine, grown.library) as adapters:
            calibrate(adapters)

    return timed(work)[0].cpu_s


def turns(libraries: Sequence[Growing], repeat: int, work: Callable[[Growing, int], float]) -> dict[int, float]:
    """Medians by size: the libraries take turns, and each is as large as before in every one."""
    found: dict[int, list[float]] = {one.library.size(): [] for one in libraries}
    for turn in range(repeat):
        for one, costs in zip(libraries, found.values(), strict=True):
            costs.append(work(one, turn))
            one.library.rollback()
    assert [one.library.size() for one in libraries] == [*found]
    return {size: round(median(costs), 3) for size, costs in found.items()}


def candidates_ms(library: Library) -> dict[str, float]:
    """Milliseconds of CPU to find the candidates of a question."""
    costs = [1000 * timed(lambda prompt=one.prompt: candidates(library, [prompt]))[0].cpu_s for one in everyday("check")]
    return {"median": round(median(costs), 2), "nine of ten": round(quantiles(costs, n=10)[-1], 2), "longest": round(max(costs), 2)}


def asking(grown: Growing, policy: Policy, repeat: int) -> dict[str, float]:
    """CPU of an answer by the library, and of both, over that of one by the untrained model, of as many tokens: medians, and seconds of the last."""
    policy.engine.ends = frozenset()  # type: ignore[attr-defined]  # nobody ends early
    titles = [document.title for document in random.Random(0).sample(grown.library.documents(), repeat)]
    ratios: list[tuple[float, float, float]] = []

    def put(question: str, adapters: Adapters, both: bool) -> None:
        [route] = routes(adapters, [question])
        asked = [request(policy, adapters, who, question, TOKENS) for who in ((NOBODY, route) if both else (route,))]
        policy.sample([replace(one, sampling=replace(one.sampling, stop=())) for one in asked], None)

    def base(question: str, adapters: Adapters) -> None:
        one = request(policy, adapters, NOBODY, question, TOKENS)
        policy.sample([replace(one, sampling=replace(one.sampling, stop=()))], None)

    for n, title in enumerate(titles):
        question = QUESTIONS[n % len(QUESTIONS)].format(title)
        with Adapters(policy.engine, grown.library) as adapters:
            before = timed(lambda q=question, a=adapters: base(q, a))[0].cpu_s
            one = timed(lambda q=question, a=adapters: put(q, a, False))[0].cpu_s
        with Adapters(policy.engine, grown.library) as adapters:
            two = timed(lambda q=question, a=adapters: put(q, a, True))[0].cpu_s
        ratios.append((one / before, two / before, before))
    one, two, before = (round(median(column), 2) for column in zip(*ratios, strict=True))
    return {"one answer": one, "both answers": two, "the untrained model, s": before}


def main() -> None:
    """Grow, measure, print a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="`tiny`: a random model of two layers; `fake`: the engine without one")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--routing", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--learns", type=int, default=1, help="whole runs of `learn` at each size")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfedit-library-") as scratch:
        for found in measure(Path(scratch), **vars(args)):
            print(json.dumps(found), flush=True)


def measure(folder: Path, model: str, sizes: Sequence[int], routing: int, repeat: int, learns: int, seed: int) -> Iterator[dict[str, Any]]:
    """All figures, as they come."""
    if model == "tiny":
        from selfedit.models import tiny

        model = str(tiny("llama", folder / "tiny"))
    engine = {"type": "fake"} if model == "fake" else {"threads": 1}
    settings = {"model": model, "engine": engine, "propose": {"candidates": 1}, "eval": {"baselines": []}}
    policy = open_policy(api.made(api.packaged("learn"), settings))
    libraries = [Growing(folder / str(size), settings, seed) for size in sizes]
    for size, one in zip(sizes, libraries, strict=True):
        one.grow(size)
    yield {"the first time, joining, cpu_s": turns(libraries, 1, lambda one, _: joining(one, policy))}  # none of it was calibrated before
    yield {"joining, cpu_s": turns(libraries, repeat, lambda one, _: joining(one, policy))}
    yield {"learn, cpu_s": turns(libraries, learns, lambda one, turn: one.learn(2 + turn))}
    yield {"candidates, cpu_ms": {size: candidates_ms(one.library) for size, one in zip(sizes, libraries, strict=True)}}
    grown = libraries[-1]
    yield {"ask": {grown.library.size(): asking(grown, policy, repeat)}}
    if routing > grown.library.size():
        grown.grow(routing)
        yield {"candidates, cpu_ms": {routing: candidates_ms(grown.library)}}


if __name__ == "__main__":
    main()
