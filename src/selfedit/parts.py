"""The registry that all kinds of parts share.

A part is one file: its settings, its code, what it means in words, its label in a report. A decorator registers it:

    class Brevity(Settings):
        words: int = 5

    @reward("brevity", means="short answers that are right", settings=Brevity)
    def brevity(measured, settings): ...

Parts come from this package, from installed packages (entry points of the group `selfedit.parts`), and from modules that a recipe names in `plugins`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from selfedit.errors import ConfigError

GROUP = "selfedit.parts"
"""The entry points of installed packages that bring parts."""

PACKAGES = ("tasks", "strategies", "inner", "rewards", "prefilters", "algorithms", "guards", "baselines", "vectors.rows", "engine")
"""Where this package has its own parts: every file of these registers what it holds when it is imported."""


class Settings(BaseModel):
    """Base of every section of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    part: ClassVar[str] = ""
    """The name of the part whose settings these are; empty for a section that is no part."""


P = TypeVar("P")
X = TypeVar("X")


class Part:
    """Base of every kind of part: what it does, bound to its settings."""

    asked = True
    """Whether a recipe can ask for it: not for a row of a table that a run makes by itself."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def check(self, recipe: Any) -> None:
        """Refuse a recipe that the part does not fit. Raises ValueError with what to change; called before anything is loaded."""

    def check_run(self, recipe: Any) -> None:
        """Refuse, in a run that learns, settings that would switch the part off. Raises ConfigError. What only measures is free to have them."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[P]):
    """A registered part. `labels` are further names in reports, by what they stand for; `sha256` is of the plug-in's file, empty for our own."""

    kind: str
    name: str
    means: str
    label: str
    settings: type[Settings]
    build: Callable[[Any], P]
    module: str
    sha256: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def words(self) -> dict[str, Any]:
        """What a run's ledger notes of the part, for readers that cannot import it."""
        noted = {"kind": self.kind, "name": self.name, "means": self.means, "label": self.label, "labels": dict(self.labels)}
        return noted | ({"module": self.module, "sha256": self.sha256} if self.sha256 else {})


class Registry(Generic[P]):
    """The parts of one kind, by name. Calling it gives the decorator that registers a class or a function.

    `wrap` makes a part of a decorated function; without it only subclasses of `base` are taken. `typed`: a recipe chooses one by `type`, so that the
    settings get that key.
    """

    def __init__(self, kind: str, base: type[P], *, wrap: Callable[..., Callable[[Any], P]] | None = None, typed: bool = True) -> None:
        self.kind, self.base, self.wrap, self.typed = kind, base, wrap, typed
        self.parts: dict[str, Entry[P]] = {}
        KINDS[kind] = self

    def __call__(
        self, name: str, *, means: str, label: str = "", settings: type[Settings] = Settings, labels: Mapping[str, str] | None = None, **traits: Any
    ) -> Callable[[X], X]:
        """Register what is decorated under `name`. `traits` go to the wrapper of functions. Raises ConfigError for a name that is taken."""

        def register(made: X) -> X:
            build = self._builder(name, made, traits)
            module = getattr(made, "__module__", "")
            entry = Entry(
                kind=self.kind,
                name=name,
                means=means,
                label=label or name.replace("_", " ").replace("-", " ").capitalize(),
                settings=_named(settings, name, self.typed),
                build=build,
                module=module,
                sha256="" if module.startswith("selfedit.") else _digest(module),
                labels=MappingProxyType(dict(labels or {})),
            )
            if name in self.parts and self.parts[name].module != module:
                raise ConfigError(f"{self.kind} '{name}' of {module} is there already, from {self.parts[name].module}; choose another name")
            self.parts[name] = entry
            return made

        return register

    def _builder(self, name: str, made: Any, traits: Mapping[str, Any]) -> Callable[[Any], P]:
        if inspect.isclass(made) and issubclass(made, self.base):
            return made
        if self.wrap is None or inspect.isclass(made):
            raise ConfigError(f"{self.kind} '{name}' has to be a subclass of {self.base.__name__}{'' if self.wrap is None else ', or a function'}")
        return self.wrap(name, made, **traits)

    def __iter__(self) -> Iterator[Entry[P]]:
        load()
        return iter([self.parts[name] for name in sorted(self.parts)])

    def __contains__(self, name: object) -> bool:
        load()
        return name in self.parts

    def names(self) -> list[str]:
        """Every name, in the order of the alphabet: that of registration depends on what was imported first."""
        return [entry.name for entry in self]

    def get(self, name: str) -> Entry[P]:
        """The part of this name. Raises ConfigError that names the nearest."""
        if name in self:
            return self.parts[name]
        wanted = [entry.name for entry in self if getattr(entry.build, "asked", True)]
        near = difflib.get_close_matches(name, wanted, n=1, cutoff=0.0)
        raise ConfigError(f"unknown {self.kind} '{name}'; the nearest is '{near[0]}' (there are: {', '.join(wanted)})")

    def open(self, settings: Settings) -> P:
        """The part that these settings are of, bound to them."""
        return self.get(settings.part).build(settings)


KINDS: dict[str, Registry[Any]] = {}
"""The registries by kind; filled by the packages of `PACKAGES`."""


def words(kind: str, name: str) -> dict[str, Any]:
    """What is known of a part, empty where it is not registered (any more)."""
    load()
    entry = KINDS[kind].parts.get(name) if kind in KINDS else None
    return entry.words if entry else {}


# ---------------------------------------------------------------- loading

_loaded: set[str] = set()


def load(plugins: Sequence[str] = ()) -> None:
    """Register our own parts, those of installed packages, and those of the modules `plugins`; each once.

    Raises ConfigError for a module that cannot be imported.
    """
    if "" not in _loaded:
        _loaded.add("")
        for name in PACKAGES:
            package = importlib.import_module(f"selfedit.{name}")
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.startswith("selfedit.engine.torch"):  # loaded when a model is opened
                    importlib.import_module(module.name)
        for point in entry_points(group=GROUP):
            _import(point.value.partition(":")[0], f"entry point {point.name}")
    for plugin in plugins:
        if plugin not in _loaded:
            _import(plugin, "plugins")
            _loaded.add(plugin)


def _import(module: str, where: str) -> None:
    """Modules in the current folder are found, as with `python -m`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except ConfigError:
        raise
    except Exception as error:  # a module may fail in any way while it is imported
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{where}: module '{module}' cannot be imported ({reason}); it has to be installed, or stand in this folder") from error
    finally:
        sys.path.remove(here)


def digests(plugins: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the file of each plug-in that has registered a part, and of each that a recipe names."""
    load(plugins)
    modules = {entry.module: entry.sha256 for registry in KINDS.values() for entry in registry if entry.sha256}
    return modules | {plugin: _digest(plugin) for plugin in plugins}


def _digest(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else "no file"


def _named(settings: type[Settings], name: str, typed: bool) -> type[Settings]:
    """The settings with the part's name: as the key `type` where a recipe chooses by it."""
    keys: dict[str, Any] = {"type": (Literal[name], name)} if typed else {}
    named = create_model(settings.__name__, __base__=settings, __module__=settings.__module__, **keys)
    named.__doc__ = settings.__doc__
    named.part = name
    return named
