"""What a model runs in: the engines that a recipe can name. `@engine` registers one."""

from __future__ import annotations

from selfedit.engine.base import Engine
from selfedit.engine.settings import TorchSettings
from selfedit.parts import Part, Registry
from selfedit.types import Say


class EngineKind(Part):
    """Opens engines of one kind."""

    real = True
    """Whether there is a model: its name is then shown, and its identity noted."""

    def open(self, model: str, say: Say) -> Engine:
        """An engine with the model of this name or folder. `say` is told what takes time. Raises ModelError, EngineError or ConfigError."""
        raise NotImplementedError


engine = Registry("engine", EngineKind)
"""`@engine(name, means=..., settings=...)` registers a subclass of EngineKind."""


@engine("torch", label="Embedded", means="the embedded engine: many LoRAs trained together over one frozen base", settings=TorchSettings)
class Embedded(EngineKind):
    """A model in this process. torch is loaded here and not before."""

    def open(self, model: str, say: Say) -> Engine:
        """The model is fetched where it is missing."""
        from selfedit.system.environment import cores
        from selfedit.system.process import tune

        tune()
        import torch

        from selfedit.engine.torch.engine import Torch, pick_device, pick_dtype
        from selfedit.models import identity, load, resolve
        from selfedit.models.libraries import quiet

        folder = resolve(model, pull=True, say=say)
        device = pick_device(self.settings.device)
        torch.set_num_threads(self.settings.threads or min(torch.get_num_threads(), cores()))
        opened, tokenizer = load(folder, pick_dtype(self.settings.dtype, device), device)
        with quiet():
            found = Torch(opened, tokenizer, self.settings, name=identity(model))
        if found.slow:
            say(f"{model} runs the slow way, its own forward pass on one sequence at a time: {found.slow}")
        return found


@engine("fake", label="Fake", means="a deterministic stand-in without a model: whole runs in a second, for tests and for learning the tool")
class FakeKind(EngineKind):
    """The fake engine."""

    real = False

    def open(self, model: str, say: Say) -> Engine:
        """No model is opened."""
        from selfedit.engine.fake import Fake

        return Fake()
