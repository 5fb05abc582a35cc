"""What everybody works on, made from the bundled corpus: the same for every contestant, the same every time."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from selfedit.engine.base import Tokenizer
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Datum, LoraShape, Optimizer, Passage, Tokens, TrainJob

LORA = LoraShape(rank=32, alpha=64.0, targets=("q_proj", "v_proj"))
WIDE = LoraShape(rank=16, alpha=32.0)
SMALL = LoraShape(rank=8, alpha=16.0, targets=("q_proj", "v_proj"))
OPTIMIZER = Optimizer(lr=1e-3, schedule="linear", clip=1.0)
"""SEAL's inner loop: r 32, alpha 64 on q and v, AdamW at 1e-3 with linear decay, clipped to 1, batch 1."""
SHORTEST, LONGEST = 20, 300


def passages() -> list[Passage]:
    """All of the corpus."""
    return bundled_corpus("train") + bundled_corpus("heldout")


def sequences(tokenizer: Tokenizer, count: int, seed: int, shortest: int = SHORTEST, longest: int = LONGEST) -> list[Tokens]:
    """Texts of the corpus cut to lengths that are log-uniform: many of the length of a statement, some of that of a passage and more."""
    rng = random.Random(seed)
    texts = passages()
    made = []
    for _ in range(count):
        length = round(shortest * math.exp(rng.random() * math.log(longest / shortest)))
        tokens: Tokens = ()
        while len(tokens) < length:
            text = rng.choice(texts)
            tokens += tokenizer.encode(f"{text.title}\n{text.context}")
        made.append(tokens[:length])
    return made


def statements(tokenizer: Tokenizer, count: int) -> list[Tokens]:
    """Short texts of 20 to 40 tokens; any ten of them that follow each other have the same lengths as any other ten."""
    texts = passages()
    return [tokenizer.encode(f"{(text := texts[i % len(texts)]).title}\n{text.context}")[: 20 + 20 * (7 * i % 10) // 9] for i in range(count)]


def job(data: Sequence[Tokens], seed: int, lora: LoraShape = LORA, epochs: int = 1, batch_size: int = 1) -> TrainJob:
    """Learn texts whole."""
    return TrainJob(tuple(Datum(t, (1.0,) * len(t)) for t in data), lora, OPTIMIZER, epochs, batch_size, seed)


def jobs(tokenizer: Tokenizer, adapters: int, each: int, seed: int, lora: LoraShape = LORA, epochs: int = 1) -> list[TrainJob]:
    """So many adapters on `each` sequences of their own."""
    drawn = sequences(tokenizer, adapters * each, seed)
    return [job(drawn[i * each : (i + 1) * each], seed + i, lora, epochs) for i in range(adapters)]
