"""What self-edits may set: how it is declared, written and read.

1. What is drawn at random, and the defaults, are read back from JSON as they were, in any order of keys; a number may lie between two alternatives.
2. Whatever else is written is refused with the reason: unknown, missing and repeated keys, other types, values out of range, anything but one object.
3. Any text at all is refused or gives every directive an allowed value.
4. A declaration that makes no sense is refused; a name that is none is refused with the nearest.
5. The inner loop's alternatives are the recipe's, in their order, and hold the recipe's own values; what cannot be chosen is refused in one line.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.config import parse_recipe
from selfedit.directives import Directive, Space, as_json, write
from selfedit.errors import ConfigError

SPACE = Space(
    (
        Directive("lr", "the learning rate", (5e-4, 1e-3, 4e-3), 1e-3),
        Directive("epochs", "passes", (2, 4, 10), 4),
        Directive("turned", "whether it is turned", (False, True), False),
        Directive("loss", "what is learned", ("answers", "all"), "answers"),
    )
)
FINE = {"lr": 0.001, "epochs": 4, "turned": True, "loss": "all"}


@given(st.integers(0, 2**32), st.permutations(list(FINE)))
def test_what_is_drawn_is_read_back(seed: int, order: list[str]) -> None:  # promise 1
    for said in (SPACE.random(seed), SPACE.default):
        assert SPACE.parse(as_json(said)) == said == SPACE.parse(f"\n{json.dumps({name: dict(said)[name] for name in order}, indent=1)} ")
        assert all(type(value) is type(one.default) and value in one.values for (_, value), one in zip(said, SPACE.directives, strict=True))


def test_between_alternatives() -> None:  # promise 1
    found = dict(SPACE.parse(json.dumps(FINE | {"lr": 0.0022, "epochs": 7})))
    assert found == FINE | {"lr": 0.0022, "epochs": 7}
    whole = Space((Directive("share", "", (0.0, 1.0), 1.0),)).parse('{"share": 1}')
    assert whole == (("share", 1.0),) and type(whole[0][1]) is float
    assert [write(value) for value in (5e-4, 1e-05, 2.0, 12, True, "half")] == ["0.0005", "0.00001", "2.0", "12", "true", "half"]


REFUSED = [
    (json.dumps(FINE | {"rank": 4}), "'rank' is no directive; there are lr, epochs, turned, loss"),
    (json.dumps({name: FINE[name] for name in FINE if name != "epochs"}), "epochs is missing"),
    (json.dumps(FINE)[:-1] + ', "lr": 0.001}', "'lr' is set twice"),
    (json.dumps(FINE | {"epochs": 4.0}), "epochs has to be a whole number, not 4.0"),
    (json.dumps(FINE | {"epochs": True}), "epochs has to be a whole number, not True"),
    (json.dumps(FINE | {"turned": 1}), "turned has to be true or false, not 1"),
    (json.dumps(FINE | {"lr": "0.001"}), "lr has to be a number, not '0.001'"),
    (json.dumps(FINE | {"lr": None}), "lr has to be a number, not None"),
    (json.dumps(FINE | {"lr": 0.1}), "lr is 0.1, and has to be from 0.0005 to 0.004"),
    (json.dumps(FINE | {"epochs": 0}), "epochs is 0, and has to be from 2 to 10"),
    (json.dumps(FINE).replace("0.001", "1e999"), "lr is inf, and has to be from"),
    (json.dumps(FINE).replace("0.001", "NaN"), "not JSON: NaN is no number"),
    (json.dumps(FINE).replace("4", "9" * 5000), "a number of 5000 digits"),
    (json.dumps(FINE | {"loss": "some"}), "loss is 'some', and has to be one of answers, all"),
    (f"[{json.dumps(FINE)}]", "not a JSON object"),
    (f"Here it is: {json.dumps(FINE)}", "not JSON: Expecting value at character 1"),
    (json.dumps(FINE) + " I hope it helps.", "not JSON: Extra data"),
    (json.dumps(FINE)[:-2], "not JSON: "),
    ("[" * 100_000, "nested too deeply"),
    ("", "not JSON"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_used(text: str, reason: str) -> None:  # promise 2
    with pytest.raises(ValueError) as caught:
        SPACE.parse(text)
    assert str(caught.value).startswith(reason) or reason in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 150


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
OBJECTS = st.fixed_dictionaries({}, optional={name: st.just(value) | ANY for name, value in FINE.items()}) | st.dictionaries(st.text(), ANY)


@given(st.text() | OBJECTS.map(json.dumps))
def test_any_text(text: str) -> None:  # promise 3
    try:
        found = SPACE.parse(text)
    except ValueError:
        return
    assert [name for name, _ in found] == list(FINE)
    for (_, value), one in zip(found, SPACE.directives, strict=True):
        assert one.read(value) == value and type(value) is type(one.default)


MADE: list[tuple[Any, str]] = [
    (lambda: Directive("a", "", (1, 2.0), 1), "of one type"),
    (lambda: Directive("a", "", (1, 1), 1), "each once"),
    (lambda: Directive("a", "", (1, 2), 3), "the default one of them"),
    (lambda: Directive("a", "", (2, 1), 1), "from the least to the greatest"),
    (lambda: Directive("a", "", (), 1), "the default one of them"),
    (lambda: Space((SPACE.directives[0], SPACE.directives[0])), "directive lr is declared twice"),
    (lambda: SPACE.only(["epoch"]), "unknown directive 'epoch'; the nearest is 'epochs'"),
    (lambda: Space().only(["lr"]), "unknown directive 'lr'; this inner loop and domain have none"),
]


@pytest.mark.parametrize(("make", "reason"), MADE, ids=range(len(MADE)))
def test_declarations(make: Any, reason: str) -> None:  # promise 4
    with pytest.raises(ValueError, match=reason):
        make()


def test_the_inner_loop() -> None:  # promise 5
    names = ["layers", "lr", "epochs", "rank", "loss", "replay"]
    inner = {"optimizer": {"lr": 3e-3}, "epochs": 5, "replay": 4, "choices": {"epochs": [9, 1], "layers": ["third"]}}
    space = parse_recipe({"inner": inner, "propose": {"directives": names}}).space
    values = {one.name: one.values for one in space.directives}
    assert list(values) == names and values["lr"] == (5e-4, 1e-3, 2e-3, 3e-3, 4e-3) and values["epochs"] == (1, 5, 9)
    assert values["layers"] == ("third", "all") and dict(space.default)["lr"] == 3e-3 and dict(space.default)["epochs"] == 5
    own = parse_recipe({"inner": {"lora": {"layers": [0.2, 0.4]}, "loss": "all"}, "propose": {"directives": ["layers", "loss"]}}).space
    assert own.default == (("layers", "given"), ("loss", "all"))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"propose": {"directives": ["epoch"]}}, "unknown directive 'epoch'; the nearest is 'epochs'"),
    ({"propose": {"directives": ["lr", "lr"]}}, "directive lr is declared twice"),
    ({"propose": {"directives": ["replay"]}}, "inner.replay is 0: there are no everyday prompts"),
    ({"propose": {"directives": ["lr"]}, "algorithm": {"type": "archive"}}, "goes with no algorithm archive"),
    ({"propose": {"directives": ["lr"], "candidates": 2}, "algorithm": {"type": "evolve"}}, "goes with no algorithm evolve"),
    ({"propose": {"directives": ["epochs"]}, "prefilter": {"type": "early_stop"}}, "prefilter.type early_stop would overrule"),
    ({"eval": {"baselines": ["base", "random_directives"]}}, "names random_directives, and propose.directives is empty"),
    ({"inner": {"choices": {"layers": ["most"]}}}, "no part of a model is called 'most'"),
    ({"inner": {"choices": {"epochs": [0]}}}, "inner.choices.epochs.0"),
    ({"inner": {"choices": {"lr": []}}}, "inner.choices.lr"),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit(values: dict[str, Any], said: str) -> None:  # promise 5
    with pytest.raises(ConfigError, match=said) as caught:
        parse_recipe(values)
    assert "\n" not in str(caught.value)
