"""A frozen transformers model as the base of many adapters: its own modules, with linear layers and attention replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from selfedit.engine.torch import hardware
from selfedit.engine.torch.attention import NAME, AttentionPass, Flash, RecordingAttention, attention
from selfedit.engine.torch.bank import Bank, Weights
from selfedit.engine.torch.cross_entropy import Head
from selfedit.engine.torch.depth import Depth, Span, passable
from selfedit.engine.torch.fused import attention_like, norm_like
from selfedit.engine.torch.grouped import ALIGNED
from selfedit.engine.torch.lora import Block, LoraLinear, PassContext, blocks
from selfedit.engine.torch.precision import widened
from selfedit.errors import ConfigError, EngineError
from selfedit.types import LoraShape


@dataclass(frozen=True, slots=True)
class LinearSite:
    """A linear layer an adapter may be added to, by its name in the model."""

    name: str
    in_features: int
    out_features: int


_BLOCK = re.compile(r"\.(\d+)\.")
"""Where the name of a linear layer has the number of its block."""
EXPERT_NAMES = frozenset({"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
"""Names that the linear layers of experts had before they were fused. PEFT takes them for the experts where a model has fused ones."""


def _has_fused_experts(model: nn.Module) -> bool:
    return any(p.dim() == 3 and name.rpartition(".")[2] in ("gate_up_proj", "down_proj") for name, p in model.named_parameters())


def _decoder_layers(model: nn.Module, sites: Sequence[LinearSite]) -> nn.ModuleList | None:
    """The list that all numbered linear layers are in; None where there are several, or none."""
    stacks = {site.name[: match.start()] for site in sites if (match := _BLOCK.search(site.name))}
    found = model.get_submodule(stacks.pop()) if len(stacks) == 1 else None
    return found if isinstance(found, nn.ModuleList) else None


def end_tokens(model: Any) -> frozenset[int]:
    """Every token that ends a text, after the model's generation settings and its configuration."""
    configs = (getattr(model, "generation_config", None), model.config, model.config.get_text_config())
    found = [getattr(config, "eos_token_id", None) for config in configs]
    return frozenset(token for ends in found for token in (ends if isinstance(ends, (list, tuple)) else [ends]) if token is not None)


def context_tokens(model: Any) -> int:
    """The longest text that the model takes. With LongRoPE a text longer than the original length would change the shorter ones beside it."""
    config = model.config.get_text_config()
    longest = int(getattr(config, "max_position_embeddings", None) or 2048)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [each for each in (rope, *rope.values()) if isinstance(each, dict) and each.get("rope_type") == "longrope"]
    return min([longest, *(int(each.get("original_max_position_embeddings") or longest) for each in kinds)])


class Base:
    """The model that every adapter shares. Its weights change only by `merge` and come back exactly by `reset`."""

    def __init__(self, model: Any, used: Callable[[str], bool] = lambda name: True) -> None:
        """`used` says which linear layers a text passes through, by their name."""
        from transformers.pytorch_utils import Conv1D

        self.backbone: nn.Module = model.base_model
        self.embed: nn.Module = model.get_input_embeddings()
        self.like: Tensor = model.get_input_embeddings().weight  # for type and device
        head, config = model.get_output_embeddings(), model.config.get_text_config()
        self.head = Head(getattr(head, "weight", None), getattr(head, "bias", None), getattr(config, "final_logit_softcapping", None))
        self.context, self.depth = PassContext(), Depth()
        self.sites: list[LinearSite] = []
        self.linears: list[LoraLinear] = []
        self.others: list[str] = []
        """Linear layers that get no adapter."""
        self.measured: dict[Hashable, Any] = {}
        """What a training pass keeps, `budget.Kept`, by the layout of its adapters."""
        self.flash: Flash | None = None
        """What attends in place of the engine's own attention, where there is such."""
        self.graphs = hardware.Switch("engine.graphs", "off", here=False)
        """Whether tokens are written with shapes that stay the same."""
        self.training_graphs = hardware.Switch("engine.graphs", "off", here=False)
        """Whether training passes have shapes that stay the same."""
        self.recording_proven = False
        """Whether a recorded training pass was seen to do what the pass itself does."""
        self._originals: dict[int, Tensor] = {}
        self._merged: list[Weights] = []
        ambiguous = EXPERT_NAMES if _has_fused_experts(model) else frozenset()
        for name, module in [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D, LoraLinear))]:
            parent, _, leaf = name.rpartition(".")
            if module.weight is self.head.weight or leaf in ambiguous or not used(name):
                self.others.append(name)
                continue
            replacement = LoraLinear(module, len(self.sites), self.context)
            setattr(model.get_submodule(parent), leaf, replacement)
            self.sites.append(LinearSite(name, replacement.in_features, replacement.out_features))
            self.linears.append(replacement)
        if not self.sites:
            raise EngineError(f"{type(model).__name__} has no linear layer that an adapter could be added to")
        self.layers: nn.ModuleList | None = _decoder_layers(model, self.sites)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.like.device

    @cached_property
    def odd(self) -> bool:
        """Whether there are layers that the grouped product does not take: a Qwen2-MoE model's gate of width 1, for one."""
        return any(site.in_features % ALIGNED or site.out_features % ALIGNED for site in self.sites)

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen weights."""
        return self.like.dtype

    def attend_flat(self, model: Any) -> None:
        """Put our attention in the place of the model's own."""
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, attention)
        model.set_attn_implementation(NAME)

    @torch.no_grad()
    def fuse(self, model: Any, tokens: Tensor) -> None:
        """Put `fused` parts in the place of the model's own, and take them out again where that changes what it computes of the tokens (N,)."""
        attend, positions = RecordingAttention([len(tokens)], self.device), torch.arange(len(tokens), device=self.device)
        with widened(model):
            before = self.forward(tokens, positions, attend)
        replaced: list[tuple[str, nn.Module]] = []
        for name, module in list(model.named_modules()):
            new = norm_like(module) or attention_like(module, attend.options)
            if new is not None:
                replaced.append((name, module))
                model.set_submodule(name, new)
        try:
            self.forward(tokens, positions, attend)
            with widened(model):
                error = float((self.forward(tokens, positions, attend) - before).norm() / before.norm())
        except (RuntimeError, TypeError):  # parts of the same names, put together in another way
            error = float("inf")
        if not error <= 1e-4:
            for name, module in replaced:
                model.set_submodule(name, module)

    def blocks(self, rows: Sequence[tuple[int, int]], start: int = 0, fresh: Sequence[bool] = (), rank: int = 0) -> list[Block]:
        """Which rows of a flat batch belong to which adapter of the bank, as `forward` takes them; see `lora.blocks`."""
        return blocks(rows, self.like, start, fresh, self.odd, rank)

    def targeted(self, shape: LoraShape) -> list[int]:
        """Indices of the sites that an adapter of this shape is added to. Raises ConfigError for a name that no layer has."""
        inside = self._within(*shape.layers)
        if shape.targets == ("all",):
            return inside
        leaves = {s.name.rsplit(".", 1)[1] for s in self.sites}
        if unknown := set(shape.targets) - leaves:
            raise ConfigError(f"no linear layer is named {sorted(unknown)[0]!r}; this model has {', '.join(sorted(leaves))}, or 'all'")
        return [i for i in inside if self.sites[i].name.rsplit(".", 1)[1] in shape.targets]

    def _within(self, low: float, high: float) -> list[int]:
        """Indices of the sites in the blocks from `low` to `high` of the depth, as PEFT's `layers_to_transform` takes blocks; all for 0 to 1."""
        if (low, high) == (0.0, 1.0):
            return list(range(len(self.sites)))
        if low >= high:
            raise ConfigError(f"an adapter cannot reach from {low} to {high} of the model's depth: the first has to be the smaller (lora.layers)")
        numbers, count = self.site_layers, self.count
        first = min(round(low * count), count - 1)
        return [i for i, number in enumerate(numbers) if first <= number < max(round(high * count), first + 1)]

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: AttentionPass,
        bank: Bank | None = None,
        blocks: Sequence[Block] = (),
        span: Span | None = None,
    ) -> Tensor:
        """tokens and positions (N,) flat → hidden states (N, d) after the last norm; `blocks` say which rows belong to which adapter of the bank.

        A pass through a `span` of the layers, where the base is `divisible`, comes to the states that leave the span, before the last norm.
        """
        embedded = self.embed(tokens)
        if torch.is_grad_enabled():
            embedded = embedded.detach().requires_grad_()
        self.context.bank, self.context.blocks, self.depth.span = bank, blocks, span
        try:
            out = self.backbone(inputs_embeds=embedded[None], position_ids=positions[None], use_cache=False, attend=attend)
        finally:
            self.context.bank, self.context.blocks, self.depth.span = None, (), None
        hidden: Tensor = out.last_hidden_state.flatten(0, 1) if span is None or span.left is None else span.left
        return hidden

    @cached_property
    def site_layers(self) -> list[int]:
        """The number of the decoder layer that each site is in; -1 for one that is in none."""
        found = [_BLOCK.search(f".{site.name}") for site in self.sites]
        return [int(match[1]) if match else -1 for match in found]

    @property
    def count(self) -> int:
        """How many decoder layers there are."""
        return 1 + max(self.site_layers)

    @cached_property
    @torch.no_grad()
    def divisible(self) -> bool:
        """Whether passes can stop before a layer, and others go on from there: tried in the middle, where not a bit may differ."""
        if self.layers is None or self.count < 2 or len(self.layers) != self.count:
            return False
        for number, layer in enumerate(self.layers):
            passable(layer, number, self.depth)
        tokens, middle = torch.arange(8, device=self.device), self.count // 2
        attend = RecordingAttention([4, 4], self.device)
        positions = torch.arange(4, device=self.device).repeat(2)
        try:
            states = self.forward(tokens, positions, attend, span=Span(0, middle))
            after = self.forward(torch.zeros_like(tokens), positions, attend, span=Span(middle, self.count, states))
        except (RuntimeError, TypeError, AttributeError):  # layers that are called, or answer, in another way
            return False
        return torch.equal(after, self.forward(tokens, positions, attend))

    @torch.no_grad()
    def merge(self, weights: Weights) -> None:
        """Add an adapter to the frozen weights: the originals plus the sum of all that were merged, computed wide and rounded once.

        What one rounding takes away is not lost to the next merge. Their factors are kept, not their products: they are small.
        """
        self._merged.append(weights)
        for i, (down, up) in enumerate(zip(weights.down, weights.up, strict=True)):
            if down is not None and up is not None:
                weight = self.linears[i].weight
                original = self._originals.setdefault(i, weight.clone())
                weight.copy_(original.to(self.wide) + self._delta(i))

    def _delta(self, site: int) -> Tensor:
        """(o, i): what all merged adapters add to a site."""
        weight = self.linears[site].weight
        delta = torch.zeros_like(weight, dtype=self.wide)
        for w in self._merged:
            down, up = w.down[site], w.up[site]
            if down is not None and up is not None:
                delta.addmm_(up.to(delta).t(), down.to(delta), alpha=w.scale)
        return delta

    @property
    def wide(self) -> torch.dtype:
        """At least fp32."""
        return torch.promote_types(self.dtype, torch.float32)

    def original(self, site: int) -> Tensor:
        """(o, i): the weight of a site as the model came, whatever was merged."""
        return self._originals.get(site, self.linears[site].weight)

    @torch.no_grad()
    def reset(self) -> None:
        """Give back the exact starting weights."""
        for i, original in self._originals.items():
            self.linears[i].weight.copy_(original)
        self._originals.clear()
        self._merged.clear()
