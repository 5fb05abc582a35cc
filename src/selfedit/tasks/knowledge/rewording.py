"""Questions in other words, by rule: the answer stays the same."""

from __future__ import annotations

WH = frozenset(("who", "whom", "whose", "what", "which", "when", "where", "why", "how"))


def reworded(question: str) -> str:
    """`Who built the mill?` → `Please tell me: who built the mill?`; what begins with another word is left as it is behind the request."""
    first = question.split(maxsplit=1)[0].casefold() if question.strip() else ""
    return f"Please tell me: {question[0].lower()}{question[1:]}" if first in WH else f"Please answer this: {question}"
