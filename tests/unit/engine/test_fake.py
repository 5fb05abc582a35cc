"""The fake engine behaves as a model does wherever a run can tell.

1. The tokenizer gives every text back, and special tokens as nothing; ids fit in 63 bits; `encode` begins a text, `encode_more` adds to one.
2. The base answers nothing of the bundled corpus; after training on the passage it answers some, after a self-edit on top of it more.
3. With the passage in view it answers from it.
4. Every strategy and the writing of questions get completions their parsers can use; they differ by seed, and at temperature 0 the seed does not
   matter.
5. `score` agrees with `sample` and favours what was learned; what was not learned scores the same with and without the adapter.
6. Losses fall with epochs; a job that diverges fails alone; nothing to train on fails; wrong requests raise EngineError.
7. merge, reset, export, load and drop do what they say, and an export is named a fake.
8. Order and neighbours do not matter; max_tokens and stop strings are kept; a completion holds every token that was drawn, that of the end too.
9. Trained on self-edits, the merged policy writes fuller ones.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfedit.config import Recipe
from selfedit.engine.base import Engine
from selfedit.engine.fake import Fake, FakeTokenizer
from selfedit.engine.fake_writing import UNKNOWN
from selfedit.errors import ConfigError, EngineError, ModelError
from selfedit.policy.opening import open_engine
from selfedit.strategies import Source, find, strategy
from selfedit.tasks.knowledge import questions
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.text import ask, says
from selfedit.types import Adapter, Datum, Example, Optimizer, Passage, Prompt, SampleRequest, Sampling, ScoreRequest, Tokens, TrainJob, Turn

PASSAGES = bundled_corpus("train")[:12]
TOKENIZER = FakeTokenizer()


def datum(example: Example, chat: bool = True) -> Datum:
    if not example.prompt:
        tokens = TOKENIZER.encode(example.text)
        return Datum(tokens, (1.0,) * len(tokens))
    before = TOKENIZER.chat(example.prompt) if chat else TOKENIZER.encode(example.prompt + "\n")
    after = TOKENIZER.encode_more(example.text) + TOKENIZER.end
    return Datum(before + after, (0.0,) * len(before) + (1.0,) * len(after))


def asking(title: str, question: str, chat: bool = True) -> Tokens:
    text = ask(title, question)
    return TOKENIZER.chat(text) if chat else TOKENIZER.encode(text + "\n")


def tokens_of(prompt: Prompt) -> Tokens:
    return TOKENIZER.encode(prompt.text) if prompt.continued else TOKENIZER.chat(prompt.text)


def prompts_for(name: str, title: str, context: str, chat: bool, seed: int) -> tuple[Prompt, ...]:
    return find(name).ask(Source(title, context, chat, seed))


def write(engine: Engine, strategy: str, passage: Passage, seed: int = 0, chat: bool = True) -> tuple[Example, ...]:
    prompts = prompts_for(strategy, passage.title, passage.context, chat, seed)
    drawn = engine.sample([SampleRequest(tokens_of(p), Sampling(max_tokens=600, temperature=1.0, seed=seed)) for p in prompts])
    turns = [Turn(p, c.text, c.finish_reason) for p, c in zip(prompts, drawn, strict=True)]
    return find(strategy).build(passage.title, passage.context, turns).examples


def learn(engine: Engine, examples: tuple[Example, ...], chat: bool = True, epochs: int = 2) -> Adapter:
    [trained] = engine.train([TrainJob(tuple(datum(e, chat) for e in examples), epochs=epochs)])
    assert trained.adapter is not None
    return trained.adapter


def accuracy(engine: Engine, passage: Passage, adapter: Adapter | None, chat: bool = True) -> float:
    requests = [SampleRequest(asking(passage.title, q.question, chat), adapter=adapter) for q in passage.questions]
    answers = engine.sample(requests)
    return sum(says(a.text, q.answer) for a, q in zip(answers, passage.questions, strict=True)) / len(requests)


@settings(deadline=None)
@given(st.text())
def test_tokenizer_gives_every_text_back(text: str) -> None:  # promise 1
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens) == text
    assert TOKENIZER.encode_more(text) == tokens[1:] and all(0 < t < 2**63 for t in tokens)
    assert TOKENIZER.decode(TOKENIZER.chat(text) + TOKENIZER.end) == text


@pytest.mark.parametrize("chat", [True, False])
def test_learns_from_passages_and_more_from_self_edits(chat: bool) -> None:  # promise 2
    engine = Fake(chat=chat)
    rows = {"base": 0.0, "passage-only": 0.0, "implications": 0.0}
    for passage in PASSAGES:
        rows["base"] += accuracy(engine, passage, None, chat)
        examples = write(engine, "implications", passage, chat=chat)
        rows["passage-only"] += accuracy(engine, passage, learn(engine, examples[-1:], chat), chat)
        rows["implications"] += accuracy(engine, passage, learn(engine, examples, chat), chat)
    assert rows["base"] == 0.0 < rows["passage-only"] + 0.5 < rows["implications"] < len(PASSAGES)


def test_answers_with_the_passage_in_view() -> None:  # promise 3
    engine = Fake()
    right = asked = 0
    for passage in PASSAGES:
        prompts = [questions.open_book(passage, q.question) for q in passage.questions]
        for tokens in ([TOKENIZER.chat(p) for p in prompts], [TOKENIZER.encode(p) for p in prompts]):
            answers = engine.sample([SampleRequest(t) for t in tokens])
            right += sum(says(a.text, q.answer) for a, q in zip(answers, passage.questions, strict=True))
            asked += len(answers)
    assert right / asked > 0.5


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(
    "strategy", [entry.name for entry in strategy if entry.module.startswith("selfedit.") and entry.name not in ("passage-only", "cloze", "puzzle")]
)
def test_strategies_are_served(strategy: str, chat: bool) -> None:  # promise 4
    engine = Fake()
    versions = {write(engine, strategy, PASSAGES[0], seed, chat) for seed in range(6)}
    assert len(versions) > 1 and all(len(v) >= 3 for v in versions)
    prompt = prompts_for(strategy, "T", PASSAGES[0].context, chat, 0)[0]
    greedy = engine.sample([SampleRequest(tokens_of(prompt), Sampling(max_tokens=600, seed=seed)) for seed in range(4)])
    assert len({c.text for c in greedy}) == 1


@pytest.mark.parametrize("chat", [True, False])
def test_written_questions_are_served(chat: bool) -> None:  # promise 4
    engine, passage = Fake(), PASSAGES[0]
    prompts = questions.writing_prompts(passage)
    tokens = [TOKENIZER.chat(p) if chat else TOKENIZER.encode(p) for p in prompts]
    completions = engine.sample([SampleRequest(t, Sampling(max_tokens=600, temperature=0.8, seed=i)) for i, t in enumerate(tokens)])
    written = [q for c in completions for q in questions.parse_questions(c.text, passage)[0]]
    assert len(written) >= 6


def test_scores_follow_learning_and_sampling() -> None:  # promise 5
    engine, passage = Fake(), PASSAGES[0]
    adapter = learn(engine, write(engine, "key-facts", passage))
    requests = [(asking(passage.title, q.question), TOKENIZER.encode_more(q.answer)) for q in passage.questions]
    base, after = (engine.score([ScoreRequest(p, c, a) for p, c in requests]) for a in (None, adapter))
    assert (
        all(b.mean <= a.mean for a, b in zip(after, base, strict=True)) and sum(b.mean + 0.5 < a.mean for a, b in zip(after, base, strict=True)) > 3
    )
    other = [ScoreRequest((1,), TOKENIZER.encode_more("Water boils at 100 degrees."), a) for a in (None, adapter)]
    assert engine.score(other)[0] == engine.score(other)[1]
    [drawn] = engine.sample([SampleRequest(requests[0][0], Sampling(max_tokens=64), adapter)])
    assert engine.score([ScoreRequest(requests[0][0], drawn.tokens, adapter)])[0].logprobs == drawn.logprobs


def test_losses_and_failures() -> None:  # promise 6
    engine, data = Fake(), tuple(datum(e) for e in write(Fake(), "implications", PASSAGES[0]))
    good, bad = TrainJob(data, epochs=3, batch_size=2), TrainJob(data, optimizer=Optimizer(lr=1e9))
    empty = TrainJob((Datum((1, 2, 3), (1.0, 0.0, 0.0)),))
    one, diverged, nothing = engine.train([good, bad, empty])
    steps = math.ceil(len(data) / 2)
    assert len(one.losses) == 3 * steps and max(one.losses[steps:]) < min(one.losses[:steps]) and one.tokens == 3 * sum(len(d.tokens) for d in data)
    assert diverged.adapter is None and "learning rate" in (diverged.failure or "")
    assert nothing.adapter is None and "nothing to train on" in (nothing.failure or "")
    picky = Fake(diverges=lambda job: job.seed == 7)
    assert [t.adapter is None for t in picky.train([TrainJob(data, seed=6), TrainJob(data, seed=7)])] == [False, True]


@pytest.mark.parametrize("engine", [Fake()])
def test_wrong_requests(engine: Fake) -> None:  # promise 6
    gone = learn(engine, (Example("a b c d"),))
    engine.drop(gone)
    long = TOKENIZER.encode("word " * 5000)
    for call in (
        lambda: engine.sample([SampleRequest((1,), adapter=gone)]),
        lambda: engine.score([ScoreRequest((1,), (300,), gone)]),
        lambda: engine.merge(gone),
        lambda: engine.sample([SampleRequest(long)]),
        lambda: engine.score([ScoreRequest(long, (300,))]),
        lambda: engine.score([ScoreRequest((), (300,))]),
        lambda: engine.train([TrainJob((Datum(long, (1.0,) * len(long)),))]),
    ):
        with pytest.raises(EngineError):
            call()
    with pytest.raises(ConfigError):
        engine.train([TrainJob((datum(Example("a")),), loss="other")])


def test_merge_reset_export_load(tmp_path: Path) -> None:  # promise 7
    engine, passage = Fake(), PASSAGES[0]
    adapter = learn(engine, write(engine, "implications", passage))
    with_adapter = accuracy(engine, passage, adapter)
    engine.export(adapter, tmp_path / "a")
    again = Fake().load(tmp_path / "a")
    other = Fake()
    assert again.id and accuracy(other, passage, other.load(tmp_path / "a")) == with_adapter > 0
    engine.merge(adapter)
    assert accuracy(engine, passage, None) == with_adapter
    engine.reset()
    assert accuracy(engine, passage, None) == 0.0
    config = tmp_path / "a" / "adapter_config.json"
    assert json.loads(config.read_text())["peft_type"] == "FAKE"
    config.write_text('{"peft_type": "LORA"}')
    for folder in (tmp_path / "a", tmp_path / "none"):
        with pytest.raises(ModelError):
            engine.load(folder)


def test_neighbours_and_limits() -> None:  # promise 8
    engine = Fake()
    adapter = learn(engine, write(engine, "implications", PASSAGES[0]))
    [asked] = prompts_for("implications", PASSAGES[0].title, PASSAGES[0].context, chat=True, seed=0)
    prompt = tokens_of(asked)
    requests = [SampleRequest(prompt, Sampling(max_tokens=m, temperature=1.0, seed=m, stop=s), adapter) for m in (3, 600) for s in ((), ("\n2.",))]
    together = engine.sample(requests)
    assert [engine.sample([r])[0] for r in requests] == together
    random.Random(0).shuffle(requests)
    assert sorted(engine.sample(requests), key=repr) == sorted(together, key=repr)
    assert [c.finish_reason for c in together] == ["length", "length", "stop", "stop"] and len(together[0].tokens) == 3
    assert together[2].tokens[-1:] == TOKENIZER.end and together[2].text == TOKENIZER.decode(together[2].tokens)
    drawn = TOKENIZER.decode(together[3].tokens)
    assert drawn.startswith(together[3].text + "\n2.") and "\n2." not in TOKENIZER.decode(together[3].tokens[:-1])
    assert all(len(c.logprobs) == len(c.tokens) for c in together)
    assert "\n2." in together[2].text and "\n2." not in together[3].text
    seen: list[tuple[int, int]] = []
    engine.sample(requests, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)


def test_policy_improves() -> None:  # promise 9
    engine, unseen = Fake(), PASSAGES[-1]
    data = []
    for passage in PASSAGES[:4]:
        [prompt] = prompts_for("implications", passage.title, passage.context, chat=True, seed=0)
        [written] = engine.sample([SampleRequest(tokens_of(prompt), Sampling(max_tokens=600))])
        data.append(Example(written.text, prompt=prompt.text))
    before = len(write(engine, "implications", unseen))
    engine.merge(learn(engine, tuple(data)))
    assert len(write(engine, "implications", unseen)) > before
    assert engine.sample([SampleRequest(asking(PASSAGES[0].title, PASSAGES[0].questions[0].question))])[0].text == UNKNOWN


def test_is_the_engine_of_the_recipe() -> None:
    engine: Engine = Fake()
    assert isinstance(open_engine(Recipe(engine={"type": "fake"})), Fake) and engine.tokenizer.has_chat_template
