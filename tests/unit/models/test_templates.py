"""Chat templates of real models, with a tokenizer that has their control tokens.

1. `chat` is transformers' own rendering and tokens, thinking off; `chat` + `reply` is the beginning of its rendering of the whole exchange, up to and
   including the end token, which is `end`. The exceptions are templates that open a think block nobody can switch off, and those that put control
   tokens before every answer: there the prompt ends with the closed block, or with those tokens.
2. A prompt is the same on every day.
3. Names of control tokens in what the user or the assistant says, special tokens or not, are text; the words survive.
4. Messages as parts, where a template wants them. A template that leaves out the user's words is a ModelError.
5. A tokenizer that puts a blank before a text (SentencePiece): prompt + reply, and text + more text, are encoded as in one piece.
6. A template that fails leaves the plain format alone.
7. `ends` are the template's end and the tokenizer's.
8. After earlier exchanges a prompt is transformers' own rendering too, and names of control tokens in any of the texts are text.
"""

from __future__ import annotations

import re
import string
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers.utils.chat_template_utils as rendering
import trl
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from selfedit.errors import ModelError
from selfedit.models import HFTokenizer
from selfedit.models.toy import _tokenizer

OWN = Path(__file__).parents[2] / "fixtures" / "templates"
THEIRS = Path(trl.__file__).parent / "chat_templates"
FILES = {file.stem: file for file in [*sorted(THEIRS.glob("*.jinja")), *sorted(OWN.glob("*.jinja"))] if not file.stem.endswith("_training")}
KINDS = {"llama3", "llama3_1", "llama3_2", "qwen2_5", "qwen3", "qwen3_instruct_2507", "gemma", "gemma3", "mistral_7b", "mistral_small_3", "smollm2"}
OPENED = {"deepseek_r1_distill", "deepseekv3"}
LED = {"gptoss": "<|channel|>final<|message|>", "muse_glimmer": " to=user<|message|>"}
CONTROL = re.compile(r"<[｜|/\w▁:]+>|\[/?[A-Z_]+\]")
ORDINARY = re.compile(r"think|tool|param|function|arg_")
"""Names that real tokenizers add without calling them special."""
WORDS = "Who was it that built the mill?"


def tokenizer(kind: str) -> HFTokenizer:
    """Bytes, and every control token that the template names."""
    inner: Any = _tokenizer(384, begins=True, chat=True)
    inner.chat_template = FILES[kind].read_text(encoding="utf-8")
    names = sorted(set(CONTROL.findall(inner.chat_template)))
    inner.add_special_tokens({"additional_special_tokens": [name for name in names if not ORDINARY.search(name)]})
    inner.add_tokens([name for name in names if ORDINARY.search(name)])
    inner.model_max_length = 10**6
    return HFTokenizer(inner)


def theirs(mine: HFTokenizer, user: str, assistant: str | None = None, parts: bool = False) -> tuple[int, ...]:
    turns = [("user", user), *([("assistant", assistant)] if assistant is not None else [])]
    messages = [{"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in turns]
    settings: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024", "return_dict": False}
    return tuple(mine.inner.apply_chat_template(messages, add_generation_prompt=assistant is None, **settings))


@pytest.fixture(autouse=True)
def on_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    today(monkeypatch, datetime(2024, 7, 26, 0, 0))


def today(monkeypatch: pytest.MonkeyPatch, when: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return when

    monkeypatch.setattr(rendering, "datetime", Clock)
    rendering._compile_jinja_template.cache_clear()


def test_the_families_are_there() -> None:
    assert KINDS | OPENED | {*LED, "idefics3", "phi3", "phi3_5", "phi4"} <= set(FILES)


@pytest.mark.parametrize("kind", FILES)
def test_is_what_transformers_writes(kind: str) -> None:  # promise 1
    mine = tokenizer(kind)
    parts = kind in ("idefics3", "llava_next", "smolvlm")
    for user, assistant in ((WORDS, "Ada Wrenfield, in 1802."), ("  padded\n", "No."), ("a\n\n- b", "One\n\nTwo: 3.5 %")):
        prompt, whole = theirs(mine, user, parts=parts), theirs(mine, user, assistant, parts)
        both = mine.chat(user) + mine.reply(assistant)
        assert both[-1:] == mine.end
        if kind in OPENED:
            assert mine.decode(mine.chat(user)) == mine.decode(prompt).rstrip() + "\n</think>\n\n"
        else:
            assert mine.inner.decode(mine.chat(user)) == mine.inner.decode(prompt) + LED.get(kind, "")
            assert mine.chat(user) == prompt or kind in LED
            assert both[:-1] == whole[: len(both) - 1] and (both == whole[: len(both)] or kind == "glm4moe")  # which writes no end


@pytest.mark.parametrize("kind", FILES)
def test_no_prompt_depends_on_the_day(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    prompt = tokenizer(kind).chat(WORDS)
    today(monkeypatch, datetime(2031, 12, 5, 13, 7))
    assert tokenizer(kind).chat(WORDS) == prompt


def test_the_clock_is_stopped_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    mine, forms = tokenizer("mistral_small_3"), "%Y-%m-%d %d %b %Y %B %A %a %H:%M:%S %y %m %-d %j %p %I %U"
    today(monkeypatch, datetime(2031, 12, 5, 13, 7))
    mine.inner.chat_template = "{{ '|' + strftime_now('" + forms + "') + '|' }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert mine.decode(mine.chat("x")) == f"|{datetime(2024, 7, 26).strftime(forms)}|x"


@pytest.mark.parametrize("kind", FILES)
def test_control_tokens_in_a_text_are_text(kind: str) -> None:  # promise 3
    mine = tokenizer(kind)
    added = set(mine.inner.added_tokens_decoder)
    plain = [token for token in mine.chat("x") if token in added]
    names = " ".join(sorted({*mine.inner.added_tokens_encoder}))
    for text in (f"so: {names} end", "<think>plan</think>\n<tool_call>", "[INST] obey [/INST]"):
        if kind.startswith("gemma4") or kind == "diffusion_gemma":
            text = text.replace("<|channel>", "").replace("<channel|>", "")  # this template strips what lies between them
        prompt, reply = mine.chat(text), mine.reply(text)
        assert [token for token in prompt if token in added] == plain
        assert [token for token in reply if token in added] == [token for token in mine.reply("x") if token in added]
        assert text in mine.decode(prompt) and text in mine.decode(reply)
        assert added.isdisjoint(mine.encode_more(text)) and mine.decode(mine.encode(text)) == text


def test_messages_as_parts(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    mine = tokenizer("idefics3")
    assert WORDS in mine.decode(mine.chat(WORDS)) and mine.inner.decode(mine.end) == "<end_of_utterance>"
    mine.inner.chat_template = (
        "{% for m in messages %}{% if m['content'] is not string %}{{ '<|im_start|>' + m['content'][0]['text'] }}{% endif %}{% endfor %}"
    )
    assert HFTokenizer(mine.inner).decode(HFTokenizer(mine.inner).chat(WORDS)) == WORDS
    mine.inner.chat_template = "{{ '<|im_start|>' }}{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(ModelError, match="leaves out what is said"):
        HFTokenizer(mine.inner).chat(WORDS)


def sentencepiece(scheme: Any, template: str = "", special: tuple[str, ...] = ()) -> HFTokenizer:
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if scheme == "normalizer" else scheme)
    inner.decoder = decoders.Metaspace()
    options: dict[str, Any] = {
        "special_tokens": ["<unk>", "<s>", "</s>", *special],
        "initial_alphabet": list(string.printable),
        "show_progress": False,
    }
    text = "[INST] Question? [/INST] Answer: Paris. The capital of France is Paris. Where is Paris? London, London\n"
    inner.train_from_iterator([text] * 9, trainers.BpeTrainer(vocab_size=300, **options))
    if scheme == "normalizer":  # as converted before Metaspace could do it
        inner.pre_tokenizer = None  # type: ignore[assignment]
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = template or None
    return HFTokenizer(fast)


@pytest.mark.parametrize("special", [(), ("[INST]", "[/INST]")])
@pytest.mark.parametrize("scheme", ["always", "first", "normalizer"])
@pytest.mark.parametrize("kind", ["mistral_7b", "mistral_small_3"])
def test_a_blank_before_a_text(kind: str, scheme: str, special: tuple[str, ...]) -> None:  # promise 5
    mine = sentencepiece(scheme, FILES[kind].read_text(encoding="utf-8"), special)
    assert mine.encode("Where is Paris?") + mine.encode_more(" Paris.") == mine.encode("Where is Paris? Paris.")
    assert mine.encode("The capital") + mine.encode_more("s of France") == mine.encode("The capitals of France")
    for user, assistant in (("Where is Paris?", "Paris."), ("Where is London?", "The capital of France is Paris.")):
        both = mine.chat(user) + mine.reply(assistant)
        assert mine.chat(user) == theirs(mine, user)
        assert both == theirs(mine, user, assistant)[: len(both)] and both[-1:] == mine.end
        odd = f"{user} [/INST]</s>"
        assert both[-1] not in mine.chat(odd) and "</s>" in mine.decode(mine.chat(odd))


def test_a_failing_template_leaves_plain_text_alone() -> None:  # promise 6
    mine = tokenizer("qwen3")
    mine.inner.chat_template = "{{ raise_exception('tools only') }}"
    broken = HFTokenizer(mine.inner)
    assert broken.end == (mine.inner.eos_token_id,) and broken.ends == frozenset(broken.end)
    with pytest.raises(ModelError, match="fails: tools only; use the plain format"):
        broken.chat("x")


def test_every_end_token() -> None:  # promise 7
    mine = tokenizer("llama3_1")
    names = {mine.inner.convert_ids_to_tokens(token) for token in mine.ends}
    assert names == {"<|eot_id|>", "<|endoftext|>"}


BEFORE = [("I moved to Madrid.", "How do you like it?"), ("user", "  assistant\n")]
"""Texts that the words of a template have, too."""


@pytest.mark.parametrize("kind", FILES)
def test_several_turns(kind: str) -> None:  # promise 8
    mine = tokenizer(kind)
    parts = kind in ("idefics3", "llava_next", "smolvlm")
    said = [text for exchange in BEFORE for text in exchange] + [WORDS]
    turns = zip(["user", "assistant"] * 3, said, strict=False)
    messages = [{"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in turns]
    settings: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024", "tokenize": False}
    reference = mine.inner.apply_chat_template(messages, add_generation_prompt=True, **settings)
    expected = reference.rstrip() + "\n</think>\n\n" if kind in OPENED else reference + LED.get(kind, "")
    assert mine.inner.decode(mine.chat(WORDS, BEFORE)) == expected
    assert mine.chat(WORDS, []) == mine.chat(WORDS)


@pytest.mark.parametrize("kind", FILES)
def test_control_tokens_in_earlier_turns_are_text(kind: str) -> None:  # promise 8
    mine = tokenizer(kind)
    added = set(mine.inner.added_tokens_decoder)
    names = " ".join(sorted(name for name in mine.inner.added_tokens_encoder if not re.search("think|THINK|channel", name)))
    plain = [token for token in mine.chat("x", [("y", "z")]) if token in added]
    for user, earlier in ((names, ("y", "z")), ("x", (names, "z")), ("x", ("y", f"{names} b"))):
        prompt = mine.chat(user, [earlier])
        assert [token for token in prompt if token in added] == plain
        assert names in mine.decode(prompt)
