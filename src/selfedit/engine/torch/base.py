"""A frozen transformers model as the base of many adapters: its own modules, with linear layers and attention replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfedit.engine.torch.attention import NAME, Attend, FlatAttend, attention
from selfedit.engine.torch.fused import attention_like, norm_like
from selfedit.engine.torch.lora import Bank, Block, Current, LoraLinear, Weights
from selfedit.engine.torch.loss import capped
from selfedit.errors import ConfigError, EngineError
from selfedit.types import LoraShape


@dataclass(frozen=True, slots=True)
class Site:
    """A linear layer an adapter may be added to, by its name in the model."""

    name: str
    in_features: int
    out_features: int


class Base:
    """The model that every adapter shares. Its weights change only by `merge` and come back exactly by `reset`."""

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        draw = torch.Generator().manual_seed(0)  # special tokens, which come first, make bf16 logits that hardly any two ways of rounding share
        probe = torch.randint(model.config.vocab_size, (1, 32), generator=draw).to(model.device)
        with torch.no_grad():
            wanted = model(input_ids=probe).logits[0]
        AttentionInterface.register(NAME, attention)
        model.set_attn_implementation(NAME)
        self.backbone: nn.Module = model.base_model
        self.embed: nn.Module = model.get_input_embeddings()
        self.head: Tensor = model.get_output_embeddings().weight
        self.config = model.config
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.current = Current()
        self.sites: list[Site] = []
        self._linears: list[LoraLinear] = []
        self._originals: dict[int, Tensor] = {}
        self._merged: list[Weights] = []
        for name, module in [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]:
            if module.weight is self.head or not name.startswith(model.base_model_prefix + "."):
                continue
            parent, _, leaf = name.rpartition(".")
            replacement = LoraLinear(module, len(self.sites), self.current)
            setattr(model.get_submodule(parent), leaf, replacement)
            self.sites.append(Site(name, module.in_features, module.out_features))
            self._linears.append(replacement)
        self._check(probe[0], wanted)
        if self.dtype != torch.float64:  # in which transformers' own norms round to fp32: it serves proofs, and they compare with those
            self._fuse(model, probe[0])

    @torch.no_grad()
    def _check(self, tokens: Tensor, wanted: Tensor) -> None:
        """Compare with what transformers computed: an architecture with something we do not know of is refused, never computed wrongly."""
        hidden = self.forward(tokens, torch.arange(len(tokens), device=self.device), FlatAttend([len(tokens)], self.device))
        found, wanted = capped(F.linear(hidden, self.head), self.softcap).double(), wanted.double()
        error = float((found - wanted).norm() / wanted.norm())
        if not error <= (0.3 if self.dtype.itemsize < 4 else 1e-3):  # bf16 alone makes 0.07 of it in thirty layers
            raise EngineError(
                f"{type(self.config).__name__} computes its logits in a way this engine does not know (relative difference {error:.2g})"
            )

    @torch.no_grad()
    def _fuse(self, model: Any, tokens: Tensor) -> None:
        """Put `fused` parts in the place of the model's own, and take them out again where that changes its logits."""
        options: dict[int, tuple[float, int | None, float | None]] = {}
        plain = FlatAttend([len(tokens)], self.device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
            options[layer] = scale, window, softcap
            return plain(layer, q, k, v, scale, window, softcap)

        positions = torch.arange(len(tokens), device=self.device)
        before = self.forward(tokens, positions, attend)
        replaced: list[tuple[str, nn.Module]] = []
        for name, module in list(model.named_modules()):
            new = norm_like(module) or attention_like(module, options)
            if new is not None:
                replaced.append((name, module))
                model.set_submodule(name, new)
        after = self.forward(tokens, positions, plain)
        if not (after - before).norm() <= (0.1 if self.dtype.itemsize < 4 else 1e-4) * before.norm():
            for name, module in replaced:
                model.set_submodule(name, module)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.head.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen weights."""
        return self.head.dtype

    @property
    def matmul_parameters(self) -> int:
        """N of the cost model: parameters every token is multiplied with, the head included."""
        return sum(s.in_features * s.out_features for s in self.sites) + self.head.numel()

    def targeted(self, shape: LoraShape) -> list[int]:
        """Indices of the sites that an adapter of this shape is added to. Raises ConfigError for a name that no layer has."""
        if shape.targets == ("all",):
            return list(range(len(self.sites)))
        leaves = {s.name.rsplit(".", 1)[1] for s in self.sites}
        if unknown := set(shape.targets) - leaves:
            raise ConfigError(f"no linear layer is named {sorted(unknown)[0]!r}; this model has {', '.join(sorted(leaves))}, or 'all'")
        return [i for i, s in enumerate(self.sites) if s.name.rsplit(".", 1)[1] in shape.targets]

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend, bank: Bank | None = None, blocks: Sequence[Block] = ()) -> Tensor:
        """tokens and positions (N,) flat → hidden states (N, d) after the last norm; `blocks` say which rows belong to which adapter of the bank."""
        embedded = self.embed(tokens)
        if torch.is_grad_enabled():
            embedded = embedded.detach().requires_grad_()
        self.current.bank, self.current.blocks = bank, blocks
        try:
            out = self.backbone(inputs_embeds=embedded[None], position_ids=positions[None], use_cache=False, attend=attend)
        finally:
            self.current.bank, self.current.blocks = None, ()
        hidden: Tensor = out.last_hidden_state[0]
        return hidden

    @torch.no_grad()
    def merge(self, weights: Weights) -> None:
        """Add an adapter to the frozen weights: the originals plus the sum of all that were merged, computed wide and rounded once.

        What one rounding takes away is not lost to the next merge. Their factors are kept, not their products: they are small.
        """
        self._merged.append(weights)
        for i, (down, up) in enumerate(zip(weights.down, weights.up, strict=True)):
            if down is not None and up is not None:
                weight = self._linears[i].weight
                original = self._originals.setdefault(i, weight.clone())
                weight.copy_(original.to(self.wide) + self._delta(i))

    def _delta(self, site: int) -> Tensor:
        """(o, i): what all merged adapters add to a site."""
        weight = self._linears[site].weight
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

    @torch.no_grad()
    def reset(self) -> None:
        """Give back the exact starting weights."""
        for i, original in self._originals.items():
            self._linears[i].weight.copy_(original)
        self._originals.clear()
        self._merged.clear()
