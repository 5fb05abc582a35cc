"""Prompts and parsers of the strategies, on what strong and weak models write."""

import gzip
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfedit import parts
from selfedit.errors import ConfigError
from selfedit.strategies import Source, find, strategy
from selfedit.strategies.parsing import LINES
from selfedit.strategies.spans import spans
from selfedit.types import Example, Prompt, SelfEdit, Turn

REWARDS = Path(__file__).parents[3] / ".." / "shared" / "data" / "seal_round0_rewards.json.gz"
TITLE, CONTEXT = "Corve Mill", "Corve Mill was built by Edda Stannis in 1688. Its wheel is 9 metres wide and made of larch."
PASSAGE = Example(f"{TITLE}\n{CONTEXT}")


OURS = [entry.name for entry in strategy if entry.module.startswith("selfedit.")]


def prompts_for(name: str, title: str, context: str, chat: bool, seed: int, spans: int = LINES // 2) -> tuple[Prompt, ...]:
    return find(name).ask(Source(title, context, chat, seed, spans))


def build(name: str, title: str, context: str, turns: Sequence[Turn]) -> SelfEdit:
    return find(name).build(title, context, turns)


def prompt_for(strategy: str, title: str, context: str, chat: bool) -> str:
    """The prompt of a strategy that has just one."""
    (prompt,) = prompts_for(strategy, title, context, chat, seed=0)
    assert prompt.continued != chat
    return prompt.text


def written(strategy: str, completion: str, finish_reason: str = "stop", chat: bool = False) -> SelfEdit:
    """The self-edit made of a completion; turns without one stay empty."""
    prompts = prompts_for(strategy, TITLE, CONTEXT, chat, seed=0)
    return build(strategy, TITLE, CONTEXT, [Turn(prompt, completion, finish_reason) for prompt in prompts])  # type: ignore[arg-type]


def bare(completion: str) -> list[Turn]:
    return [Turn(Prompt(""), completion)]


def texts(strategy: str, completion: str, finish_reason: str = "stop", chat: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """Statements (without the title) and what was dropped."""
    edit = written(strategy, completion, finish_reason, chat)
    assert edit.examples[-1] == PASSAGE and all(example.text.startswith(f"{TITLE}\n") and not example.prompt for example in edit.examples)
    return [example.text.removeprefix(f"{TITLE}\n") for example in edit.examples[:-1]], [(d.text, d.reason) for d in edit.dropped]


def test_every_strategy_shows_the_passage() -> None:
    assert OURS == [
        "cloze",
        "implications",
        "implications-long",
        "implications-very-long",
        "key-facts",
        "pairs-by-sentence",
        "passage-only",
        "puzzle",
        "rewrite",
        "self-qa",
        "sentence-qa",
        "span-qa",
    ]
    assert all(find(name).means for name in OURS)
    for name in set(OURS) - {"cloze", "pairs-by-sentence", "passage-only", "puzzle", "span-qa", "sentence-qa"}:
        for chat in (True, False):
            assert f"Passage:\n{TITLE}\n{CONTEXT}\n\n" in prompt_for(name, TITLE, CONTEXT, chat) + "\n\n"
    assert prompt_for("rewrite", "{x}", "{y} {0}", True).endswith("{x}\n{y} {0}")


def test_implications_prompt_is_seals() -> None:
    if not REWARDS.exists():
        pytest.skip("SEAL's released prompts are not beside the repository (../shared/data)")
    with gzip.open(REWARDS, "rt") as file:
        for article in json.load(file)["articles"]:
            assert prompt_for("implications", article["title"], article["context"], chat=False) == article["prompt"]


def test_nearly_all_that_a_strong_model_wrote_is_used() -> None:
    if not REWARDS.exists():
        pytest.skip("SEAL's released edits are not beside the repository (../shared/data)")
    kept = dropped = 0
    with gzip.open(REWARDS, "rt") as file:
        for article in json.load(file)["articles"]:
            for completion in article["completions"]:
                edit = build(
                    "implications", article["title"], article["context"], [Turn(Prompt(article["prompt"], continued=True), completion["text"])]
                )
                kept += len(edit.examples) - 1
                dropped += sum(piece.reason != f"beyond {LINES}" for piece in edit.dropped)
    assert kept > 1500 and dropped < 0.05 * kept


def test_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown strategy 'implication'; the nearest is 'implications'"):
        prompts_for("implication", "", "", True, 0)
    with pytest.raises(ConfigError, match="nearest is 'self-qa'"):
        build("self-q", "", "", [])


def test_passage_only_needs_no_completion() -> None:
    assert prompts_for("passage-only", TITLE, CONTEXT, True, 0) == ()
    edit = build("passage-only", TITLE, CONTEXT, [])
    assert edit.examples == (PASSAGE,) and edit.dropped == ()


def test_lead_in_numbering_and_emphasis_go() -> None:
    kept, dropped = texts(
        "implications",
        "Sure! Here are the implications\n1. Edda Stannis built a mill.\n2) **Wheel**: it is made of larch.\n\n"
        "- The wheel is wide enough.\n• (3) The mill is old now.",
    )
    assert kept == ["Edda Stannis built a mill.", "Wheel: it is made of larch.", "The wheel is wide enough.", "The mill is old now."]
    assert dropped == [("Sure! Here are the implications", "lead-in")]


def test_numbers_that_belong_to_the_text_stay() -> None:
    kept, _ = texts("implications", "1688 was the year of building.\n9.5 metres is the width.\n300. tonnes are not a list.")
    assert kept[:2] == ["1688 was the year of building.", "9.5 metres is the width."]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("## Facts about the mill", "heading"),
        ("**Facts about the mill**", "heading"),
        ("Key points:", "heading"),
        ("---", "formatting"),
        ("```", "formatting"),
        ("2.", "empty"),
        ("Corve Mill", "only the title"),
        ("Yes.", "too short for a statement"),
        (CONTEXT, "copy of the passage"),
        ("I hope this helps you!", "closing remark"),
        ("The mill has an owner.", "repetition"),
        ("3. The MILL has an owner", "repetition"),
        ("Let me know if you need more.", "closing remark"),
        ("the mill " * 30, "says the same words over and over"),
    ],
)
def test_frame_and_repetition_are_dropped(line: str, reason: str) -> None:
    kept, dropped = texts("implications", f"The mill has an owner.\n{line}\nThe wheel was made of larch wood.")
    assert kept == ["The mill has an owner.", "The wheel was made of larch wood."]
    assert dropped == [(line.strip(), reason)]


def test_near_repetition_and_the_limit() -> None:
    long = "The mill on the Corve brook has a wheel made of larch wood that turns two stones of hard grey granite in"
    assert texts("implications", f"{long} May\n{long} may.\n{long} Spring and Autumn always")[1] == [(f"{long} may.", "repetition")]
    kept, dropped = texts("implications", "\n".join(f"{number}. Item w{number} has x{number} and y{number}." for number in range(1, 36)))
    assert len(kept) == LINES and [reason for _, reason in dropped] == [f"beyond {LINES}"] * 5


def test_prompt_and_its_example_do_not_leak_into_the_edit() -> None:
    kept, dropped = texts(
        "key-facts",
        " Edda Stannis built Corve Mill.\n2. Tolmet Weir was raised in 1847.\n3. Hedda Ruskin also built it.\n"
        "4. The wheel is of larch.\n\nPassage:\nOther\nMore text.",
    )
    assert kept == ["Edda Stannis built Corve Mill.", "The wheel is of larch."]
    assert [reason for _, reason in dropped] == ["copied from the prompt", "copied from the prompt", "written after the end of the list"]
    echo = "Let's read the following passage and produce a list of implications derived directly or indirectly from the content."
    assert texts("implications", f"{echo}\nThe mill is old by now.") == (["The mill is old by now."], [(echo, "copied from the prompt")])


def test_what_the_token_limit_broke_is_left_out() -> None:
    kept, dropped = texts("implications", "1. The mill is very old.\n2. Its wheel turns. It was ma", "length")
    assert kept == ["The mill is very old.", "Its wheel turns."] and dropped == [("It was ma", "cut off at the token limit")]


# ---------------------------------------------------------------- questions


def pairs(completion: str, finish_reason: str = "stop") -> tuple[list[tuple[str, str]], list[str]]:
    edit = written("self-qa", completion, finish_reason)
    assert edit.examples[-1] == PASSAGE and all(example.prompt.startswith(f"Topic: {TITLE}\n") for example in edit.examples[:-1])
    return [(example.prompt.split("\n", 1)[1], example.text) for example in edit.examples[:-1]], [piece.reason for piece in edit.dropped]


def test_questions_are_learned_as_they_are_asked() -> None:
    edit = build("self-qa", TITLE, CONTEXT, bare("Question 1: Who built it?\nAnswer: Edda Stannis"))
    assert edit.examples == (Example("Edda Stannis", prompt="Topic: Corve Mill\nWho built it?"), PASSAGE)


@pytest.mark.parametrize("chat", [True, False])
def test_questions_are_asked_for_by_an_example(chat: bool) -> None:
    """Asked in words alone, small chat models write one pair and stop."""
    shown, _, asked = prompt_for("self-qa", TITLE, CONTEXT, chat).partition(f"Passage:\n{TITLE}\n{CONTEXT}")
    assert shown.count("\nQuestion: ") == shown.count("\nAnswer: ") == 5
    assert ("ten questions" in shown, asked) == ((True, "") if chat else (False, "\n\nQuestion:"))


@pytest.mark.parametrize("chat", [True, False])
def test_answers_of_the_example_do_not_leak(chat: bool) -> None:
    said = "Question: How long is it?\nAnswer: 38 metres\nQuestion: When was it raised?\nAnswer: 1847.\nQuestion: Is it old?\nAnswer: yes"
    edit = written("self-qa", said, chat=chat)
    assert [example.text for example in edit.examples[:-1]] == ["yes"] and {piece.reason for piece in edit.dropped} == {"copied from the prompt"}
    (prompt,) = prompts_for("self-qa", "Isk Weir", "It was raised in 1847.", chat, seed=0)
    edit = build("self-qa", "Isk Weir", "It was raised in 1847.", [Turn(prompt, said)])
    assert [example.text for example in edit.examples[:-1]] == ["1847.", "yes"]


def test_questions_of_a_weak_model() -> None:
    kept, dropped = pairs(
        " Who built Corve Mill?\nAnswer: Edda Stannis\nQuestion: Who raised Tolmet Weir?\nAnswer: Hedda Ruskin\n"
        "Question: Who built Corve Mill?\nAnswer: Edda\nQ: Who owns it?\nA: Not mentioned in the passage.\nQ: What?\nA: x\nQ: How wide is the wh"
    )
    assert kept == [("Who built Corve Mill?", "Edda Stannis")]
    assert sorted(dropped) == sorted(
        ["question without an answer", "copied from the prompt", "repetition", "the answer says nothing", "too short for a question"]
    )


@pytest.mark.parametrize("answer", ["N/A", "Unspecified", "unspecified.", "Not specified in the text.", "Unknown"])
def test_an_answer_that_says_nothing(answer: str) -> None:
    assert pairs(f" Who owns it?\nAnswer: {answer}") == ([], ["the answer says nothing"])


def test_a_broken_answer_is_left_out() -> None:
    kept, dropped = pairs(" Who built it?\nAnswer: Edda\nQuestion: When was it built?\nAnswer: 16", "length")
    assert kept == [("Who built it?", "Edda")] and sorted(dropped) == ["cut off at the token limit", "question without an answer"]


# ---------------------------------------------------------------- an answer at a time


def test_span_qa_asks_for_names_numbers_and_phrases_of_the_text() -> None:
    prompts = prompts_for("span-qa", TITLE, CONTEXT, chat=True, seed=0)
    answers = [prompt.given for prompt in prompts]
    assert {"Edda Stannis", "1688", "larch"} <= set(answers) and len(set(answers)) == len(answers) <= LINES
    assert all(
        prompt.continued and answer in CONTEXT and prompt.text.endswith(f"Answer: {answer}\nQuestion:")
        for prompt, answer in zip(prompts, answers, strict=True)
    )
    assert prompts_for("span-qa", TITLE, CONTEXT, chat=False, seed=0) == prompts
    assert len(prompts_for("span-qa", TITLE, CONTEXT, True, 0, spans=2)) == 2 < len(prompts)


def test_span_qa_keeps_questions_that_can_be_about_the_passage() -> None:
    def made(answer: str, completion: str) -> Turn:
        return Turn(Prompt("", continued=True, given=answer), completion)

    turns = [
        made("Edda Stannis", " Who built Corve Mill?\nmore"),
        made("1688", "Was it built in 1688?"),
        made("larch", "What did King Olaf use?"),
        made("9", ""),
    ]
    edit = build("span-qa", TITLE, CONTEXT, turns)
    assert edit.examples == (Example("Edda Stannis", prompt="Topic: Corve Mill\nWho built Corve Mill?"), PASSAGE)
    assert len(edit.dropped) == 2 and edit.turns == tuple(turns)


def test_pairs_are_asked_for_sentence_by_sentence() -> None:
    prompts = prompts_for("pairs-by-sentence", TITLE, CONTEXT, chat=True, seed=0)
    assert [prompt.text.rpartition("Text: ")[2] for prompt in prompts] == [
        "Corve Mill was built by Edda Stannis in 1688.\nQuestion:",
        "Its wheel is 9 metres wide and made of larch.\nQuestion:",
    ]
    assert all(prompt.continued for prompt in prompts) and prompts_for("pairs-by-sentence", TITLE, CONTEXT, False, 0) == prompts
    few = [prompts_for("pairs-by-sentence", TITLE, CONTEXT, True, seed, spans=1) for seed in range(8)]
    assert set(few) == {prompts[:1], prompts[1:]}


def test_pairs_by_sentence_keep_what_the_passage_says() -> None:
    completions = (
        " Who built Corve Mill?\nAnswer: Edda Stannis\nQuestion: When was it built?\nAnswer: 1689\nQuestion: What did King Olaf do?\nAnswer: larch",
        " How wide is the wheel?\nAnswer: 9 metres\nQuestion: Is the wheel of larch?\nAnswer: larch\nQuestion: Who built Corve Mill?\nAnswer: Edda",
    )
    prompts = prompts_for("pairs-by-sentence", TITLE, CONTEXT, chat=True, seed=0)
    turns = [Turn(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
    edit = build("pairs-by-sentence", TITLE, CONTEXT, turns)
    assert edit.examples == (
        Example("Edda Stannis", prompt="Topic: Corve Mill\nWho built Corve Mill?"),
        Example("9 metres", prompt="Topic: Corve Mill\nHow wide is the wheel?"),
        PASSAGE,
    )
    assert [piece.reason for piece in edit.dropped] == [
        "the passage does not have the answer",
        "the passage has no 'King'",
        "the answer stands in the question",
        "repetition",
    ]
    assert build("pairs-by-sentence", TITLE, CONTEXT, [Turn(prompts[0], " ")]).examples == (PASSAGE,)


# ---------------------------------------------------------------- other languages and code

TEXTS = {
    "German": (
        "Der Kranturm in Velden wurde 1731 von Jost Ammerling gebaut. Sein Seil hat 48 Meter und wiegt so viel wie ein Ochse.",
        {"Velden", "1731", "Jost Ammerling", "48"},
    ),
    "Russian": (
        "Башня у моста была построена в 1731 году Иваном Лозовым. Её колокол весит 48 пудов и звонит утром.",
        {"1731", "Иваном Лозовым", "48"},
    ),
    "Arabic": ("بُني البرج عند الجسر عام ١٧٣١ على يد يونس الحداد. يزن جرسه ٤٨ رطلا ويدق صباحا.", {"١٧٣١", "٤٨", "الحداد"}),
    "Hindi": ("पुल के पास की मीनार 1731 में रघुनाथ ने बनवाई थी। इसकी घंटी ४८ किलो की है और सुबह बजती है।", {"1731", "रघुनाथ", "४८"}),
    "Japanese": ("橋の塔は1731年にヨスト・アマリングによって建てられた。鐘の重さは48キロである。", {"1731", "ヨスト・アマリング", "48"}),
    "Thai": ("หอคอยข้างสะพานสร้างขึ้นในปี ๑๗๓๑ ระฆังหนัก ๔๘ กิโลกรัม", {"๑๗๓๑", "๔๘"}),
}


@pytest.mark.parametrize("language", TEXTS)
def test_spans_of_other_languages_are_whole_words(language: str) -> None:
    text, expected = TEXTS[language]
    found = spans("title", text, LINES, 0)
    assert expected <= {span.answer for span in found}
    for span in found:
        start = span.sentence.index(span.answer)
        edges = span.sentence[start - 1], span.sentence[start + len(span.answer) : start + len(span.answer) + 1]
        assert span.sentence in text and not any(unicodedata.category(edge[:1] or " ")[0] == "M" for edge in edges)
        assert unicodedata.category(span.answer[0])[0] != "M"


def test_where_nothing_can_be_asked_nothing_is() -> None:
    assert spans("title", "หอคอยข้างสะพานสร้างขึ้นนานแล้ว", LINES, 0) == ()
    assert prompts_for("span-qa", "title", "หอคอยข้างสะพานสร้างขึ้นนานแล้ว", True, 0) == ()


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("من بنى برج الجسر؟", None),
        ("Кто построил башню?", None),
        ("Кто такой Пётр?", "the passage has no 'Пётр'"),
        ("Wer war Özdemir?", "the passage has no 'Özdemir'"),
    ],
)
def test_grounded_questions_of_other_languages(question: str, reason: str | None) -> None:
    edit = build("span-qa", "title", TEXTS["Russian"][0], [Turn(Prompt("", continued=True, given="1731"), question)])
    assert [piece.reason for piece in edit.dropped] == ([reason] if reason else [])


def test_code_in_statements_keeps_its_characters() -> None:
    kept, _ = texts(
        "implications", "1. **The file** `__init__.py` marks a package.\n2. The value of 2**3**2 is 512 here.\n- It calls __enter__ first."
    )
    assert kept == ["The file `__init__.py` marks a package.", "The value of 2**3**2 is 512 here.", "It calls __enter__ first."]


# ---------------------------------------------------------------- any text

_PIECES = st.sampled_from(
    [
        "1. ",
        "- ",
        "**",
        "# ",
        "\n",
        "\n\n",
        "Question 1:",
        "Answer:",
        "Q:",
        "A:",
        "?",
        ".",
        ":",
        "Passage:",
        "the mill",
        "Edda",
        "is",
        " ",
        "___",
        "```",
        "Tolmet Weir",
        "\u2028",
    ]
)
_COMPLETIONS = st.one_of(st.text(), st.lists(_PIECES, max_size=60).map("".join))


@given(st.sampled_from([name for name in OURS if find(name).has_text]), _COMPLETIONS, st.sampled_from(["stop", "length"]), st.booleans())
def test_parsers_never_raise_and_their_output_is_bounded(name: str, completion: str, finish_reason: str, chat: bool) -> None:
    edit = written(name, completion, finish_reason, chat)
    assert 1 <= len(edit.examples) <= LINES + 1
    assert all(example.text.strip() for example in edit.examples)
    assert all(piece.text.strip() and piece.reason for piece in edit.dropped)
    if name == "cloze":  # takes all from the passage
        return
    head = len(TITLE) + 1
    given = sum(len(turn.prompt.given) + len(completion) for turn in edit.turns)
    assert sum(len(example.text) - (0 if example.prompt else head) for example in edit.examples[:-1]) <= given


@given(
    st.sampled_from(["implications", "rewrite", "key-facts"]),
    st.lists(st.sampled_from(["1. {} is", "- {}", "{}", "**{}**", "# {}", "{}:", "{} mill is old.", "Passage: {}"])),
)
def test_every_word_is_used_or_recorded(name: str, lines: list[str]) -> None:
    completion = "\n".join(line.format(f"word{number}x") for number, line in enumerate(lines))
    edit = build(name, TITLE, CONTEXT, bare(completion))
    everything = "\n".join([*(example.text for example in edit.examples), *(piece.text for piece in edit.dropped)])
    assert all(f"word{number}x" in everything for number in range(len(lines)))


def test_cloze_takes_all_from_the_passage() -> None:
    edit = find("cloze").build(TITLE, CONTEXT, [], seed=1)
    *blanks, passage = edit.examples
    assert blanks and passage == Example(f"{TITLE}\n{CONTEXT}") and not edit.turns and not edit.dropped
    for example in blanks:
        topic, sentence = example.prompt.split("\n")
        assert topic == f"Topic: {TITLE}" and sentence.replace("____", example.text, 1) in CONTEXT
    assert edit == find("cloze").build(TITLE, CONTEXT, [], seed=1)
    few = find("cloze", {"cloze": parts.KINDS["strategy"].get("cloze").settings(blanks=2)}).build(TITLE, CONTEXT, [], seed=1)
    assert len(few.examples) == 3
