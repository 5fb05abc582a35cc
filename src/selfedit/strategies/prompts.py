"""Prompt templates with the fields {title} and {context}. Those for base models are texts that a list naturally continues.

The wording of implications, its longer variants and rewrite for base models is SEAL's (released data; paper, appendix B). What SEAL leaves to the
model, a small one does not know: questions and key facts are shown by an example, whose people and places are invented here.
"""

from __future__ import annotations

_PASSAGE = "\n\nPassage:\n{title}\n{context}\n\n"
_STANDALONE = "Write one on each line, as a complete sentence that can be understood without the passage and names what it is about."

_EXAMPLE = """Passage:
Tolmet Weir
Tolmet Weir was raised across the Isk Brook in 1847 by the miller Hedda Ruskin. It is 38 metres long and built of grey slate. Every spring the \
Society of Lamplighters opens its wooden gate to let the elvers pass.

"""

IMPLICATIONS = "Let's read the following passage and produce a {amount} of implications derived directly or indirectly from the content."


def implications_base(amount: str) -> str:
    """SEAL's prompt, for `list`, `long list` or `very long list`."""
    return IMPLICATIONS.replace("{amount}", amount) + _PASSAGE + "Implications:\n"


def implications_chat(amount: str) -> str:
    """The same request as a user's turn."""
    return f"{IMPLICATIONS.replace('{amount}', amount)} {_STANDALONE}{_PASSAGE}".rstrip()


_REWRITE = "Let's read the following passage and rewrite it in a few different ways, each one separated by a newline."
REWRITE_BASE = _REWRITE + _PASSAGE + "Rewritten passages:\n"
REWRITE_CHAT = f"{_REWRITE} Keep every fact.{_PASSAGE}".rstrip()

SELF_QA_BASE = (
    "Each passage is rewritten as questions and short answers.\n\n"
    + _EXAMPLE
    + """Question: Who raised Tolmet Weir?
Answer: Hedda Ruskin
Question: In which year was Tolmet Weir raised?
Answer: 1847
Question: Which stream does Tolmet Weir cross?
Answer: the Isk Brook
Question: How long is Tolmet Weir?
Answer: 38 metres
Question: Who opens the gate of Tolmet Weir in spring?
Answer: the Society of Lamplighters

Passage:
{title}
{context}

Question:"""
)
SELF_QA_CHAT = (
    "Let's read the following passage and rewrite it in a question-answer format. Ask about every name, number, date and reason in it; "
    'each question names what it is about, each answer has a few words. Write each pair on two lines, the first beginning with "Question:", '
    'the second with "Answer:".' + _PASSAGE.rstrip()
)

KEY_FACTS_BASE = (
    "The facts of each passage, one a line.\n\n"
    + _EXAMPLE
    + """Facts:
1. Tolmet Weir was raised in 1847.
2. The miller Hedda Ruskin raised Tolmet Weir.
3. Tolmet Weir crosses the Isk Brook.
4. Tolmet Weir is 38 metres long.
5. Tolmet Weir is built of grey slate.

Passage:
{title}
{context}

Facts:
1."""
)
KEY_FACTS_CHAT = f"List the key facts of the following passage. {_STANDALONE} State one fact in each.{_PASSAGE}".rstrip()

_TURNED = (
    (
        "It was raised across the Isk Brook in 1847 by the miller Hedda Ruskin, who paid for it with cheese.",
        "1847",
        "In which year was Tolmet Weir raised?",
    ),
    (
        "Every spring the Society of Lamplighters opens its wooden gate to let the elvers pass.",
        "elvers",
        "What passes the gate of Tolmet Weir in spring?",
    ),
    (
        "It was raised across the Isk Brook in 1847 by the miller Hedda Ruskin, who paid for it with cheese.",
        "Hedda Ruskin",
        "Who raised Tolmet Weir?",
    ),
    ("It is 38 metres long and built of grey slate.", "grey slate", "What is Tolmet Weir built of?"),
)
SPAN_QA = (
    "Write the question that has the given answer.\n\n"
    + "".join(f"Topic: Tolmet Weir\nText: {text}\nAnswer: {answer}\nQuestion: {question}\n\n" for text, answer, question in _TURNED)
    + "Topic: {title}\nText: {sentence}\nAnswer: {answer}\nQuestion:"
)
