import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit.text import ask, contains, exact_match, finished, gold_token_recall, holding, near, normalise, says, sentences


def test_question_form_is_seals() -> None:
    assert ask("Tolmet Weir", "Who built it?") == "Topic: Tolmet Weir\nWho built it?"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, a DOG!", "cat dog"),
        ("U.S.A.", "usa"),
        ("1750-1840", "17501840"),
        ("1750–1840", "17501840"),  # en dash, as ASCII hyphen
        ("“Ann’s” — hat", "anns hat"),
        ("Cafe\u0301", "café"),
        ("東京都", "東 京 都"),
        ("an the a", ""),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("prediction", "gold", "recall"),
    [
        ("It was the Isk Brook.", "Isk Brook", 1.0),
        ("the brook", "Isk Brook", 0.5),
        ("one two three", "one two three four five", 0.6),
        ("new york", "New York New York", 0.5),  # counts matter
        ("", "x", 0.0),
        ("the answer is +", "+", 1.0),  # nothing is left of the gold answer: compared as written
        ("the", "The", 1.0),
        ("anything", " ", 0.0),
        ("我在東京", "東京", 1.0),
    ],
)
def test_recall_by_hand(prediction: str, gold: str, recall: float) -> None:
    assert gold_token_recall(prediction, gold) == pytest.approx(recall)
    assert says(prediction, gold) == (recall >= 0.6)


def test_contains_only_whole_words() -> None:
    assert contains("He paid 12,000 crowns.", "12,000")
    assert not contains("He paid 112 crowns.", "12")
    assert not contains("anything", "the")
    assert exact_match("The Weir!", "weir") and not exact_match("Weir Isk", "Isk Weir")


def test_the_sentence_that_holds_an_answer() -> None:
    text = sentences("It was raised in 1847. The gate opened in 1847 too. The brook is cold.")
    assert holding(text, "When was it raised?", "1847") == "It was raised in 1847."
    assert holding(text, "When did the gate open?", "1847") == "The gate opened in 1847 too."
    assert holding(text, "Who raised it?", "Hedda Ruskin") == "Hedda Ruskin"


def test_near_needs_all_numbers() -> None:
    long = "the mill on the brook was raised by the miller of the village and opened with a great feast in"
    assert near(f"{long} May", f"{long} may.")
    assert not near(f"{long} 1847", f"{long} 1848")
    assert not near("one two three", "one two four")


def test_sentences_by_hand() -> None:
    text = 'Dr. Smith met J. R. R. Tolkien in St. Ives. He said "Hello." Then he left! It cost 3.5 million (approx. 4).\n\nA heading\n\nLast'
    assert sentences(text) == [
        "Dr. Smith met J. R. R. Tolkien in St. Ives.",
        'He said "Hello."',
        "Then he left!",
        "It cost 3.5 million (approx. 4).",
        "A heading",
        "Last",
    ]
    assert sentences("第一。第二！") == ["第一。", "第二！"]


@pytest.mark.parametrize(
    "parts",
    [
        ["Die Mühle steht seit dem 12. März 1911.", "Sie hat z. B. ein Rad.", "Nr. 3 ist neu."],
        ["Мельница построена в 1874 году.", "Её колесо имеет 36 лопастей."],
        ["मिल 1874 में बनी।", "इसमें 36 पैडल हैं।", "रूबेन कौन है?"],
        ["من بنى الطاحونة؟", "بناها توبياس عام ١٨٧٤.", "وهي قديمة."],
        ["کیا یہ پرانی ہے؟", "یہ پرانی ہے۔", "اس کے ٣٦ پر ہیں۔"],
        ["他说：「它很老。」", "真的吗？！", "是。"],
    ],
)
def test_sentences_of_other_languages(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts
    for part in parts:
        assert finished(f"{part} Broken") == (f"{part} ", "Broken")


def test_sentences_in_linear_time() -> None:
    start = time.process_time()
    sentences("A. " * 100_000 + "a. " * 100_000)
    assert time.process_time() - start < 5


@given(st.text())
def test_sentences_lose_nothing(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "kept", "broken"),
    [
        ("One.\nThe mill was built in 18", "One.\n", "The mill was built in 18"),
        ("One. Two is", "One. ", "Two is"),
        ("One. Two.", "One. Two.", ""),
        ("One\nTwo\n", "One\nTwo\n", ""),
        ("It is 3.", "", "It is 3."),  # of 3.5, perhaps
    ],
)
def test_finished(text: str, kept: str, broken: str) -> None:
    assert finished(text) == (kept, broken)


@given(st.text())
def test_finished_divides(text: str) -> None:
    kept, broken = finished(text)
    assert kept + broken == text.rstrip(" \t") or (kept + broken).split() == text.split()


@given(st.text(), st.text())
def test_recall_is_a_share(prediction: str, gold: str) -> None:
    assert 0 <= gold_token_recall(prediction, gold) <= 1
    assert not gold.strip() or gold_token_recall(gold, gold) == 1
