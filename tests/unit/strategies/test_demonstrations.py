"""Good self-edits made of questions with answers.

1. Each is asked for as the strategy asks, and read back by its parser without loss; every strategy that writes questions or facts has some.
2. Nothing of a held-out document is shown unless the user gives it.
3. Questions are turned round into sentences only where that is safe.
4. A completion of the user's is for strategies that ask once; wordings of a fact go into different self-edits.
"""

from __future__ import annotations

import pytest

from selfedit.config import ColdStart, Recipe
from selfedit.errors import ConfigError, DataError
from selfedit.strategies import Source, demonstrate, find, strategy
from selfedit.strategies.demonstrations import statement, wordings
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.text import contains
from selfedit.types import Demonstration, Passage, Question

LEAST = {
    "self-qa": 66,
    "span-qa": 350,
    "sentence-qa": 350,
    "pairs-by-sentence": 170,
    "key-facts": 10,
    "implications": 10,
    "implications-long": 10,
    "implications-very-long": 10,
}
PASSAGE = Passage("p", "Corve Mill", "Corve Mill was built by Edda Stannis in 1688. Its wheel is of larch.")


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("name", [entry.name for entry in strategy if entry.module.startswith("selfedit.")])
def test_they_are_what_the_strategy_asks_for(name: str, chat: bool) -> None:  # promise 1
    found = 0
    for passage in bundled_corpus("train"):
        turns = demonstrate(Demonstration(passage), name, chat)
        found += len(turns)
        asked = find(name).ask(Source(passage.title, passage.context, chat))
        for turn in turns:
            frame = turn.prompt.text.partition("Topic: ")[0] if not find(name).at_once else turn.prompt.text
            assert asked[0].text.startswith(frame) and turn.prompt.continued == asked[0].continued and turn.finish_reason == "stop"
            assert "\n\n" not in turn.completion  # where a text to go on with ends
            edit = find(name).build(passage.title, passage.context, [turn])
            assert len(edit.examples) > 1
            if name == "self-qa":
                assert len(edit.examples) == 7 and not edit.dropped
            if name == "pairs-by-sentence":
                every = find(name).ask(Source(passage.title, passage.context, chat, spans=100))
                assert turn.prompt in every
    assert found >= LEAST.get(name, 0) and bool(found) == (name in LEAST)


def test_a_span_is_the_given_answer() -> None:  # promise 1
    passage = Passage("p", PASSAGE.title, PASSAGE.context, (Question("Who built Corve Mill?", "Edda Stannis"), Question("What is missing?", "salt")))
    [short], [long] = (demonstrate(Demonstration(passage), name, True) for name in ("span-qa", "sentence-qa"))
    assert (short.prompt.given, long.prompt.given) == ("Edda Stannis", "Corve Mill was built by Edda Stannis in 1688.")
    assert short.prompt.text.endswith("Answer: Edda Stannis\nQuestion:") and short.completion == " Who built Corve Mill?"


def shown(recipe: Recipe) -> list[Demonstration]:
    """What a cold start shows where the user gives nothing."""
    found: list[Demonstration] = recipe.open("domain").demonstrations(recipe, ())
    return found


def test_nothing_held_out_is_shown() -> None:  # promise 2
    heldout = {passage.context for passage in bundled_corpus("heldout")}
    found = shown(Recipe(cold_start=ColdStart(enabled=True, passages=1000)))
    assert len(found) == 33 and not {one.passage.context for one in found} & heldout
    assert shown(Recipe(cold_start=ColdStart(passages=5))) == found[-5:]
    with pytest.raises(DataError, match="no good self-edit for rewrite can be made"):
        shown(Recipe.model_validate({"propose": {"strategies": ["rewrite"]}}))


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("Who raised the weir?", "Hedda Ruskin", "Hedda Ruskin raised the weir."),
        ("What filled the vats?", "vinegar", "Vinegar filled the vats."),
        ("What is the name of the boat?", "Sulky Goose", "The name of the boat is Sulky Goose."),
        ("What was Coyle's first job?", "chimney sweep", "Coyle's first job was chimney sweep."),
        ("Who feeds the cats?", "tailors", None),
        ("What sight tells a miller to stop?", "a ribbon", None),
        ("What is the blade made of?", "larch", None),
        ("Who did Marrack learn from?", "Istra Coll", None),
        ("Where was he born?", "Pellan Cove", None),
    ],
)
def test_statements(question: str, answer: str, said: str | None) -> None:  # promise 3
    assert statement(Question(question, answer)) == said


def test_statements_of_the_corpus_hold_their_answers() -> None:  # promise 3
    made = [(q, text) for passage in bundled_corpus("train") for q in passage.questions if (text := statement(q))]
    assert len(made) > 30 and all(contains(text, q.answer) for q, text in made)


def test_completions() -> None:  # promise 4
    given = Demonstration(PASSAGE, "1. It was built in 1688.")
    [turn] = demonstrate(given, "key-facts", chat=False)
    assert turn.prompt.text.endswith("Facts:\n1.") and turn.completion == " It was built in 1688."
    assert demonstrate(given, "key-facts", chat=True)[0].completion == given.completion
    assert demonstrate(given, "span-qa", chat=True) == [] and demonstrate(Demonstration(PASSAGE, "x", "rewrite"), "key-facts", chat=True) == []
    with pytest.raises(ConfigError, match="which does not ask for all at once"):
        demonstrate(Demonstration(PASSAGE, "x", "span-qa"), "span-qa", chat=True)


def test_wordings() -> None:  # promise 4
    a, b, c, d = (Question(f"{n}?", "x", fact=fact) for n, fact in enumerate(("1", "1", "2", None)))
    assert wordings([a, b, c, d]) == [[a, c, d], [b]]
