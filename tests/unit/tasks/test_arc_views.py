"""Ways of seeing a puzzle and training data made of it.

1. Every view, permutation and transformation has an exact inverse, on any grid.
2. The eight symmetries are different, and are the symmetries of the square.
3. Training sequences are different ones, each demonstration is asked for, and none that is hidden is seen.
4. What is learned of a sequence is what the choice says.
5. A grid, a pair and an answer are read as they were written, in both forms.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.errors import DataError
from selfedit.tasks.arc.augmenters import GROUPS, Augmenter
from selfedit.tasks.arc.forms import FORMS, Form
from selfedit.tasks.arc.grids import Grid, Pair, cost, digits, grid, pairs_of, parse, shown
from selfedit.tasks.arc.material import Choice, example, left_out, sequences
from selfedit.tasks.arc.views import COLOURS, DIHEDRAL, View, inverse, permutation, recoloured, views
from selfedit.tasks.arc.voting import candidates, ranked


@st.composite
def grids(draw: st.DrawFn, most: int = 15) -> Grid:
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, most))
    return tuple(tuple(draw(st.lists(st.integers(0, 9), min_size=columns, max_size=columns))) for _ in range(rows))


def pairs(number: int, seed: int = 0) -> tuple[Pair, ...]:
    rng = random.Random(seed)

    def one() -> Grid:
        return tuple(tuple(rng.randrange(10) for _ in range(3)) for _ in range(2))

    return tuple(Pair(one(), one()) for _ in range(number))


@given(grids(), st.integers(0, 7), st.integers(0, 2**30))
def test_views_are_undone(of: Grid, symmetry: int, seed: int) -> None:  # promise 1
    view = View(symmetry, permutation(random.Random(seed)))
    assert view.undo(view.apply(of)) == of == view.apply(view.undo(of))
    assert view.colours[0] == 0 and sorted(view.colours) == list(COLOURS)
    assert inverse(inverse(view.colours)) == view.colours and recoloured(recoloured(of, view.colours), inverse(view.colours)) == of


@given(grids(), st.sampled_from([one for group in GROUPS.values() for one in group]), st.integers(0, 5))
def test_transformations_are_undone(of: Grid, augmenter: Augmenter, chance: int) -> None:  # promise 1
    assert augmenter.undo(augmenter.apply(of, chance), chance) == of


@given(grids(), st.integers(0, 2**30))
def test_orders_are_orders(of: Grid, seed: int) -> None:  # promise 1
    view = View(order=seed)
    assert sorted(view.ordered(range(5))) == list(range(5)) == View().ordered(range(5))
    assert view.ordered(range(5)) == view.ordered(range(5))


def test_there_are_eight_symmetries() -> None:  # promise 2
    square = ((1, 2), (3, 4))
    seen = {one.apply(square) for one in DIHEDRAL}
    assert len(seen) == 8
    assert {other.apply(one) for one in seen for other in DIHEDRAL} == seen
    assert DIHEDRAL[1].apply(square) == ((2, 4), (1, 3))


def test_the_authors_have_23_transformations() -> None:
    assert {name: len(group) for name, group in GROUPS.items() if name != "dihedral"} == {"basic": 11, "size": 3, "chain": 6, "repeat": 3}
    too_large = Pair(((1,) * 20,), ((2,),))
    assert [one.pair(too_large) is None for one in GROUPS["repeat"]] == [False, True, True]


@pytest.mark.parametrize(("choice", "number"), [(Choice(), 3), (Choice(("dihedral",)), 24), (Choice(("dihedral",), colours=True, order=True), 40)])
def test_sequences_differ(choice: Choice, number: int) -> None:  # promise 3
    found = sequences(pairs(3), choice, 40, 0, fill=False, seed=1)
    assert len(found) == len(set(found)) == number
    assert found == sequences(pairs(3), choice, 40, 0, fill=False, seed=1)
    filled = sequences(pairs(3), choice, 40, 0, fill=True, seed=1)
    assert len(filled) == 40 and set(filled) == set(found)


def test_every_demonstration_is_asked_for() -> None:  # promise 3
    some = pairs(4)
    assert [one[-1] for one in left_out(some, 0)] == list(some)
    assert [len(one) for one in left_out(some, 1)] == [4, 3, 3, 3] * 4, "N + N (N - 1) of them"
    assert list(left_out(some[:1], 1)) == [some[:1]]


def test_what_is_learned() -> None:  # promise 4
    form, some = FORMS["digits"], pairs(3)
    weights = {learned: [weight for _, weight in example(some, learned, form).pieces] for learned in ("all", "answer", "outputs")}  # type: ignore[arg-type]
    assert weights == {"all": [1] * 6, "answer": [0, 0, 0, 0, 0, 1], "outputs": [0, 0, 0, 1, 0, 1]}
    assert "".join(text for text, _ in example(some, "all", form).pieces) == shown(some)


@given(st.lists(st.tuples(grids(5), grids(5)), min_size=1, max_size=4), grids(5), st.sampled_from(list(FORMS.values())))
def test_what_is_written_is_read(both: list[tuple[Grid, Grid]], of: Grid, form: Form) -> None:  # promise 5
    some = tuple(Pair(*one) for one in both)
    assert pairs_of(shown(some)) == some and parse(digits(of)) == of == grid([list(row) for row in of])
    said = form.answered(of)
    assert form.read(said[: said.index(form.stop)]) == of
    assert "".join(form.prompt(some, of)).endswith(form.asked(of))


def test_arrays_are_as_numpy_prints_them() -> None:  # promise 5
    numpy = pytest.importorskip("numpy")
    of = ((1, 2, 0), (0, 5, 9))
    assert FORMS["arrays"].asked(of) == f"{numpy.array(of)} -> "


@pytest.mark.parametrize("text", ["", "12\n3", "1a", "1 2", "²3", "1" * 31])
def test_other_texts_are_no_grids(text: str) -> None:  # promise 5
    assert parse(text) is None


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2], [3]], [[10]], [[True]], [["1"]], "12", [[0] * 31]])
def test_bad_grids_are_refused(rows: object) -> None:
    with pytest.raises(DataError, match="somewhere"):
        grid(rows, "somewhere")


def test_votes_and_likelihood() -> None:
    a, b, c = ((1,),), ((2,),), ((3,),)
    votes = candidates([a, None, b, b, c, a, b], most=2)
    assert votes == [(b, 3), (a, 2)]
    likelihood = {a: -1.0, b: -2.0, c: -0.5}
    assert ranked(votes, likelihood, "likelihood", 2) == [a, b] and ranked(votes, likelihood, "votes", 1) == [b]
    assert ranked([(a, 1), (c, 1)], likelihood, "votes", 2) == [c, a]


def test_views_of_a_self_edit() -> None:
    assert views(16, 1, False, False, 0) == (View(),)
    assert [one.symmetry for one in views(16, 8, False, False, 0)] == list(range(8))
    found = views(16, 8, True, True, 5)
    assert len(set(found)) == 16 and found[:8] == views(16, 8, False, False, 0) and found == views(16, 8, True, True, 5)
    assert all(one.colours[0] == 0 for one in found)


def test_tokens_are_counted() -> None:
    from selfedit.tasks.arc.grids import Puzzle

    one = Pair(((1, 2), (3, 4)), ((1,),))
    assert cost(Puzzle("x", (one, one), (one,))) == 3 * (2 * 3 + 1 + 1 * 2 + 1)
