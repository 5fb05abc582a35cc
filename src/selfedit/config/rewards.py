"""What a self-edit is worth."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from selfedit.config.base import Settings

Form = Literal["answer", "sentence"]
"""The form of what a model is expected to say."""
Expectation = Form | Literal["choice"]
"""What a gold answer's likelihood is measured of: a token of it in this form, or the choice of its sentence among all of the passage."""


class Correctness(Settings):
    """Share of the reward questions answered correctly, by the local judge."""

    type: Literal["correctness"] = "correctness"


class Likelihood(Settings):
    """Mean gain in the log-likelihood a token of the gold answers over the current weights, in nats."""

    type: Literal["likelihood"] = "likelihood"
    of: Form = "answer"
    """Of the gold answer itself, or of the passage's `sentence` that holds it, for self-edits that teach whole sentences."""


class Choice(Settings):
    """Probability that the sentence which holds the right answer is said, if any of the passage's is. For self-edits that teach whole sentences."""

    type: Literal["choice"] = "choice"


class Mix(Settings):
    """Correctness and likelihood gain together: `correctness` times the share of correct answers, plus `likelihood` times the gain over `nats`."""

    type: Literal["mix"] = "mix"
    correctness: float = Field(0.5, ge=0)
    """Weight of the share of correct answers, which goes from 0 to 1."""
    likelihood: float = Field(0.5, ge=0)
    """Weight of the gain in log-likelihood."""
    nats: float = Field(1.0, gt=0)
    """The gain a token that counts as much as all answers being correct."""
    of: Form = "answer"
    """What the likelihood is of, as in `likelihood`."""


class Perplexity(Settings):
    """Gain in the log-likelihood a token, in nats, of sentences of the passage that the adapter was not trained on. Needs no questions."""

    type: Literal["perplexity"] = "perplexity"
    withheld: float = Field(0.3, gt=0, lt=1)
    """Share of a passage's sentences that are withheld from training while self-edits are compared, with all that quotes them."""
    quote_words: int = Field(6, ge=2)
    """So many words of a withheld sentence in a row are a quotation."""


class Majority(Settings):
    """Agreement with the majority of all answers that the adapters of a group give. Needs questions, and no right answers (SRT, TTRL, MM-UPT)."""

    type: Literal["majority"] = "majority"
    samples: int = Field(8, ge=2, le=256)
    """Answers that each adapter gives to each question."""
    temperature: float = Field(0.7, gt=0)
    """At which they are drawn."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Least share of a question's readable answers that is a majority. Below it, and in a tie, the question does not count."""
    max_words: int = Field(30, ge=1)
    """A longer answer cannot be read as one: it has no vote."""


class Judge(Settings):
    """Share of the reward questions answered correctly, as a language model judges behind an OpenAI-compatible address. Needs `selfedit[judge]`."""

    type: Literal["judge"] = "judge"
    model: str = ""
    """The judge, by the name the server knows it by."""
    base_url: str = "https://api.openai.com/v1"
    """Where it is asked, http or https."""
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; the key itself is never written down. Empty: the server wants none."""
    timeout_s: float = Field(30.0, gt=0)
    """Of one request."""
    retries: int = Field(4, ge=0, le=20)
    """After a timeout, a broken connection, or a server that is busy or in trouble; ever longer waits between them."""
    concurrency: int = Field(8, ge=1, le=256)
    """Requests at the same time."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an address begins with http:// or https://")
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError(
                "an address is recorded in the ledger: leave out user, password and everything after ?; name the key's variable in key_env"
            )
        return value


class PythonFunction(Settings):
    """What a Python function of yours returns."""

    type: Literal["python"] = "python"
    function: str = ""
    """Where it is imported from, as in `package.module:function`. It is called with (task, edit, answers, base_answers), see docs/rewards.md."""


RewardSettings = Annotated[Correctness | Likelihood | Choice | Mix | Perplexity | Majority | Judge | PythonFunction, Field(discriminator="type")]
