"""The whole recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from selfedit import parts
from selfedit.config.base import chosen, table
from selfedit.config.sections import (
    MIXED,
    MOST_CHOICES,
    ColdStart,
    Documents,
    Evaluation,
    Harvest,
    LibrarySettings,
    Propose,
    Questions,
    ReliabilityStudy,
    known,
)
from selfedit.directives import Space
from selfedit.parts import Settings

TEXTS, DIRECTIVES = "data", "directives"
"""Kinds of self-edits: those of most inner loops, and one that goes with it."""


class Recipe(Settings):
    """A whole run. `selfedit learn --recipe FILE` and `selfedit train FILE` read one; flags of the same names override it."""

    model: str = "smollm2-135m"
    """A packaged name, a Hugging Face hub name or a folder."""
    seed: int = Field(0, ge=0)
    """Seed of every random choice."""
    plugins: tuple[str, ...] = ()
    """Python modules that register parts of your own: docs/extending.md."""
    docs: tuple[Path, ...] = ()
    """Documents or JSONL files with questions; paths count from the current folder. Empty: `train` and `eval --reliability` take their part of the
    bundled corpus."""
    eval_docs: tuple[Path, ...] = ()
    """For `train` and `eval`: documents the policy never learns from, on which it is measured. Empty: the held-out part of the bundled corpus."""
    limit: int = Field(0, ge=0)
    """Only the first passages, 0 for all."""
    rounds: int = Field(2, ge=1)
    """Outer rounds of `train`."""
    round_passages: int = Field(0, ge=0)
    """Passages of a round, so that each round has others until all were used; then they are shuffled anew. 0: all of them in every round."""
    chunk: int = Field(16, ge=1)
    """Candidates trained in one call and committed together, rounded to whole passages; in a comparison, documents."""
    edits: tuple[str, ...] = ("data",)
    """The kinds of self-edits: `data`, training texts that the policy writes, with `directives` if it sets how it is trained on them; `vector`,
    numbers that change some layers, alone or added to the adapters that were trained on texts (docs/self-edits.md)."""
    guards: tuple[str, ...] = ("training", "worse", "forgetting", "size", "collapse")
    """Checks of each candidate, each final adapter and each round; `selfedit show guards` lists them. `training` is always on."""
    domain: SerializeAsAny[Settings] = chosen("domain", "knowledge")
    """Where tasks come from, how questions are put, and how answers are judged."""
    documents: Documents = Documents()
    questions: Questions = Questions()
    propose: Propose = Propose()
    inner: SerializeAsAny[Settings] = chosen("inner", "lora")
    """The inner loop: how a self-edit becomes an adapter."""
    vector: SerializeAsAny[Settings] | None = Field(None, json_schema_extra={"chooses": "inner", "standard": "vector"})
    """Of edit vectors that are added to trained adapters, as [inner] is where they stand alone; without it as they are by default."""
    reward: SerializeAsAny[Settings] = chosen("reward", "correctness")
    """The reward of a self-edit."""
    prefilter: SerializeAsAny[Settings] = chosen("prefilter", "none")
    """A cheap rating of self-edits before they are trained in full."""
    algorithm: SerializeAsAny[Settings] = chosen("algorithm", "rest_em")
    """How the policy learns from rewards."""
    cold_start: ColdStart = ColdStart()
    eval: Evaluation = Evaluation()
    reliability: ReliabilityStudy = ReliabilityStudy()
    harvest: Harvest = Harvest()
    library: LibrarySettings = LibrarySettings()
    engine: SerializeAsAny[Settings] = chosen("engine", "torch")
    """The engine that runs the model."""
    sampler: SerializeAsAny[Settings] | None = Field(None, json_schema_extra={"chooses": "engine", "standard": "torch"})
    """Another engine for sampling alone, as [engine]; without it the engine samples too."""
    strategy: dict[str, SerializeAsAny[Settings]] = table("strategy")
    """Settings of strategies by their names, where they have any."""
    guard: dict[str, SerializeAsAny[Settings]] = table("guard")
    """Settings of guards by their names."""
    baseline: dict[str, SerializeAsAny[Settings]] = table("baseline")
    """Settings of baselines by their names, where they have any."""

    def open(self, key: str) -> Any:
        """The part that the section `key` chooses, bound to its settings."""
        settings: Settings = getattr(self, key)
        return parts.KINDS[CHOSEN[key][0]].open(settings)

    def open_all(self, kind: str, names: tuple[str, ...]) -> list[Any]:
        """The named parts of a kind, bound to their settings in the table of that kind."""
        own: Mapping[str, Settings] = getattr(self, kind)
        return [(entry := parts.KINDS[kind].get(name)).build(own.get(name) or entry.settings()) for name in names]

    @field_validator("domain", "inner", "vector", "reward", "prefilter", "algorithm", "engine", "sampler", mode="before")
    @classmethod
    def _chosen(cls, value: Any, info: ValidationInfo) -> Any:
        """The settings of the part that `type` names."""
        kind, standard = CHOSEN[str(info.field_name)]
        if isinstance(value, Settings) and not value.part:
            return _registered(kind, value)
        if not isinstance(value, Mapping):
            return value
        return parts.KINDS[kind].get(str(value.get("type", standard))).settings.model_validate(value)

    @field_validator("strategy", "guard", "baseline", mode="before")
    @classmethod
    def _held(cls, value: Any, info: ValidationInfo) -> Any:
        """The settings of the parts that are named."""
        registry = parts.KINDS[TABLES[str(info.field_name)]]
        return {name: registry.get(name).settings.model_validate(own) if isinstance(own, Mapping) else own for name, own in dict(value).items()}

    @property
    def inner_seeds(self) -> int:
        """Adapters made of each self-edit with different seeds."""
        return int(getattr(self.inner, "seeds", 1))

    @field_validator("guards")
    @classmethod
    def _known_guards(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known("guard", names)

    @field_validator("edits", mode="before")
    @classmethod
    def _separated(cls, kinds: Any) -> Any:
        """Kinds may also be given with commas between them."""
        named = [kinds] if isinstance(kinds, str) else kinds
        return [name for one in named for name in one.split(",")] if all(isinstance(one, str) for one in named) else kinds

    @field_validator("edits")
    @classmethod
    def _known_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        parts.load()
        known_kinds = sorted({*(_kind_of(entry) for entry in parts.KINDS["inner"]), DIRECTIVES})
        if unknown := [kind for kind in kinds if kind not in known_kinds]:
            raise ValueError(f"'{unknown[0]}' is no kind of self-edit; there are: {', '.join(known_kinds)}")
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"name kinds of self-edits, each once: {', '.join(known_kinds)}")
        if DIRECTIVES in kinds and TEXTS not in kinds:
            raise ValueError(f"{DIRECTIVES} say how the policy is trained on its texts: name {TEXTS} too")
        return kinds

    @property
    def added(self) -> Any | None:
        """The part that makes the edit vectors which are added to trained adapters; None where vectors stand alone, or there are none."""
        inner = self.open("inner")
        entry = next((e for e in parts.KINDS["inner"] if _kind_of(e) in self.edits and _kind_of(e) != inner.kind), None)
        if entry is None or not inner.trains:
            return None
        return self.open("vector") if self.vector else entry.build(entry.settings())

    @model_validator(mode="after")
    def _kinds_are_made_and_learned(self) -> Recipe:
        inner, algorithm, added = self.open("inner"), self.open("algorithm"), self.added
        named, made = [kind for kind in self.edits if kind != DIRECTIVES], {inner.kind, *([added.kind] if added else ())}
        if set(named) != made:
            able = [entry.name for entry in parts.KINDS["inner"] if _kind_of(entry) == named[0]]
            raise ValueError(f"self-edits of the kind {named[0]} are for the inner loop {' or '.join(able)}, and `inner` is {self.inner.part}")
        if unlearned := sorted(made - algorithm.kinds):
            able = [entry.name for entry in parts.KINDS["algorithm"] if made <= getattr(entry.build, "kinds", frozenset())]
            raise ValueError(f"algorithm {self.algorithm.part} does not learn self-edits of the kind {unlearned[0]}; use {' or '.join(able)}")
        if DIRECTIVES in self.edits and not self.propose.directives:
            raise ValueError("edits names directives, and propose.directives names none: `selfedit show directives` lists them")
        if added:
            added.check(self)
        elif self.vector:
            raise ValueError(f"a section [vector] is for edits that are added to trained adapters; `edits` names {', '.join(self.edits)} alone")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        for key in CHOSEN:
            if getattr(self, key) is not None:
                self.open(key).check(self)
        for one in (*self.open_all("baseline", self.eval.baselines), *self.open_all("guard", self.guards)):
            one.check(self)
        return self

    @property
    def rows(self) -> list[Any]:
        """The baselines of the comparison, bound to their settings: those of `eval.baselines`, and those that another choice calls for."""
        asked = self.eval.baselines
        more = self.open_all("baseline", tuple(name for name in parts.KINDS["baseline"].names() if name not in asked))
        return [*self.open_all("baseline", asked), *(one for one in more if one.called_for(self))]

    @property
    def space(self) -> Space:
        """What the policy sets itself for each self-edit: the directives that `propose.directives` names. Raises ValueError for an unknown one."""
        return Space((*self.open("inner").directives(), *self.open("domain").directives())).only(self.propose.directives)

    @model_validator(mode="after")
    def _directives_fit(self) -> Recipe:
        try:
            space, algorithm = self.space, self.open("algorithm")
        except ValueError as error:
            raise ValueError(f"propose.directives: {error}") from error
        if not space.directives:
            return self
        if not algorithm.trains or algorithm.shares_adapters:
            why = "each self-edit needs an adapter of its own, and a policy that learns"
            raise ValueError(f"propose.directives goes with no algorithm {self.algorithm.part}: {why}")
        if "epochs" in self.propose.directives and self.open("prefilter").epochs:
            raise ValueError(f"propose.directives names epochs, which prefilter.type {self.prefilter.part} would overrule")
        return self

    @model_validator(mode="after")
    def _picking_fits(self) -> Recipe:
        propose = self.propose
        single = len(set(propose.strategies)) == len(propose.strategies) and not any(MIXED in name for name in propose.strategies)
        if propose.mix > 1 and not (single and propose.mix <= len(propose.strategies)):
            raise ValueError(
                f"propose.mix is {propose.mix}: propose.strategies has to name as many different strategies, each once and without {MIXED}"
            )
        if len(propose.choices) > MOST_CHOICES:
            raise ValueError(f"propose.mix makes {len(propose.choices)} combinations of {len(propose.strategies)} strategies; at most {MOST_CHOICES}")
        if propose.policy_picks and len(set(propose.choices)) < 2:
            raise ValueError("propose.pick is policy, and there is nothing to pick from: name several in propose.strategies")
        return self


def _kind_of(entry: parts.Entry[Any]) -> str:
    """The kind of self-edit that an inner loop makes adapters of."""
    return str(getattr(entry.build, "kind", TEXTS))


def _registered(kind: str, value: Settings) -> Settings:
    """Settings written as a part's plain class, as the part that they are of. Raises ValueError where no part has them."""
    parts.load()
    for entry in parts.KINDS[kind]:
        if entry.settings.__base__ is type(value):
            return entry.settings(**{name: getattr(value, name) for name in type(value).model_fields})
    raise ValueError(f"{type(value).__name__} are the settings of no {kind}")


CHOSEN: dict[str, tuple[str, str]] = {
    name: (str(extra["chooses"]), str(extra["standard"]))
    for name, field in Recipe.model_fields.items()
    if isinstance(extra := field.json_schema_extra, dict) and "chooses" in extra
}
"""The sections that choose a part by `type`: its kind, and the part that stands without a word."""
TABLES: dict[str, str] = {
    name: str(extra["holds"])
    for name, field in Recipe.model_fields.items()
    if isinstance(extra := field.json_schema_extra, dict) and "holds" in extra
}
"""The sections that hold settings of several parts by their names, with their kind."""


def check_learning(recipe: Recipe) -> None:
    """Refuses what would switch itself off in a run that learns; what only measures, or was begun before, is free to have it. Raises ConfigError."""
    for key in CHOSEN:
        if getattr(recipe, key) is not None:
            recipe.open(key).check_run(recipe)
