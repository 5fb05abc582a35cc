"""The slow way, for architectures that the fast one does not reproduce: the model's own forward pass, one sequence at a time.

Nothing is assumed about attention, positions or the head. Every token that is written reads its whole text again. Adapters, jobs and
random numbers are the same as on the fast way, so the results are. Shapes: N flat tokens, V vocabulary.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from selfedit.engine.torch.attention import AttentionPass, RecordingAttention
from selfedit.engine.torch.bank import Bank
from selfedit.engine.torch.cross_entropy import Head
from selfedit.engine.torch.depth import Span
from selfedit.engine.torch.lora import Block, SingleBlock
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.precision import widened
from selfedit.errors import EngineError


class Fallback(Base):
    """A base whose hidden states are the logits of the model itself."""

    def __init__(self, model: Any, used: Callable[[str], bool] = lambda name: True) -> None:
        super().__init__(model, used)
        self.model, self.head = model, Head()

    def blocks(self, rows: Sequence[tuple[int, int]], start: int = 0, fresh: Sequence[bool] = (), rank: int = 0) -> list[Block]:
        """As in `Base`, an adapter a block."""
        made: list[Block] = []
        for (adapter, n), first in zip(rows, fresh or [True] * len(rows), strict=True):
            made.append(SingleBlock(start, start + n, adapter, first))
            start += n
        return made

    @property
    def divisible(self) -> bool:
        """Never: the model's own forward pass is one piece."""
        return False

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: AttentionPass,
        bank: Bank | None = None,
        blocks: Sequence[Block] = (),
        span: Span | None = None,
    ) -> Tensor:
        """tokens and positions (N,) flat → logits (N, V)."""
        if bank is not None and torch.is_grad_enabled():
            _clear(bank, blocks)
        logits: list[Tensor] = []
        at = 0
        for text, n in attend.texts(tokens):
            adapter = next((block.adapter for block in blocks if isinstance(block, SingleBlock) and block.start <= at < block.end), None)
            self.context.bank, self.context.blocks = bank, () if adapter is None else (SingleBlock(0, sys.maxsize, adapter, fresh=False),)
            try:
                logits.append(self.model(input_ids=text[None], use_cache=False).logits[0, -n:])
            finally:
                self.context.bank, self.context.blocks = None, ()
            at += n
        return torch.cat(logits)


def _clear(bank: Bank, blocks: Sequence[Block]) -> None:
    """Gradients that are to be overwritten, set to zero: here each sequence, and each use of a layer that the model uses twice, adds its own."""
    for grad in (*bank.down_grad, *bank.up_grad):
        for block in blocks:
            if isinstance(block, SingleBlock) and block.fresh and grad is not None:
                grad[block.adapter] = 0


def make_base(model: Any) -> tuple[Base, str]:
    """The fast base where it computes what transformers' own forward pass does, with ''; else the slow one, and why.

    Raises EngineError for a model that cannot carry adapters in either way.
    """
    kind = type(model).__name__
    if getattr(model.eval().requires_grad_(False).config, "is_encoder_decoder", False):
        raise EngineError(f"{kind} is an encoder-decoder model; this engine takes models that continue one text")
    try:
        probe = Probe(model)
    except Exception as error:  # a library may raise anything
        raise EngineError(f"{kind} cannot run here: {_line(error)}") from error
    attention = model.config._attn_implementation
    base = Base(model, probe.uses)
    reason = _why_not(lambda: probe.flat(base, model))
    if not reason:
        if base.dtype != torch.float64:  # in which transformers' own norms round to fp32: it serves proofs, and they compare with those
            base.fuse(model, probe.texts)
        return base, ""
    model.set_attn_implementation(attention)
    model.enable_input_require_grads()
    slow = Fallback(model, probe.uses)
    if trouble := _why_not(lambda: probe.difference(slow)):
        raise EngineError(f"{kind} cannot carry adapters here; with its linear layers replaced, {trouble}")
    return slow, reason


def _why_not(check: Callable[[], str]) -> str:
    """What a check finds, or what goes wrong in it: a model may raise anything when it is handed what it does not know."""
    try:
        return check()
    except Exception as error:
        return f"it does not take what it is handed ({_line(error)})"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}".splitlines()[0]


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "#", name)


class Probe:
    """What a model computes by itself on two sequences of random tokens, to be compared with what a base makes of it.

    A model of low precision is compared in fp32, where nothing hides behind rounding, and then as it is, where it only has to come near. One that
    does not run in fp32 is compared as if rounding made no difference, so it takes the slow way.
    """

    @torch.no_grad()
    def __init__(self, model: Any) -> None:
        draw = torch.Generator().manual_seed(0)  # special tokens, which come first, make logits in bf16 that no two ways of rounding share
        *texts, self.other = torch.randint(model.config.get_text_config().vocab_size, (3, 16), generator=draw).to(model.device)
        self.model, self.texts = model, torch.cat(texts)
        self.attend = RecordingAttention([len(text) for text in texts], model.device)
        self.layers = model.config.get_text_config().num_hidden_layers
        self._used: set[str] = set()
        with self._noting_uses():
            self.wanted = self._own(texts)
        self.widened: Callable[[Any], AbstractContextManager[None]] = widened
        try:
            with widened(model):
                self.precise = self._own(texts)
        except Exception:  # a part that runs in the model's own type only, or no room for a layer in fp32
            self.widened, self.precise = nullcontext, self.wanted

    def _own(self, texts: Sequence[Tensor]) -> Tensor:
        return torch.cat([self.model(input_ids=text[None], use_cache=False).logits[0] for text in texts]).double()

    @contextmanager
    def _noting_uses(self) -> Iterator[None]:
        hooks = [m.register_forward_hook(lambda *_, name=n: self._used.add(_numberless(name))) for n, m in self.model.named_modules()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def uses(self, name: str) -> bool:
        """Whether a text passes through this module, or through one that differs from it in numbers only, such as another expert."""
        return _numberless(name) in self._used

    @torch.no_grad()
    def run(self, base: Base, tokens: Tensor) -> Tensor:
        """The base's logits (N, V) of two sequences (N,)."""
        return base.head.logits(self._states(base, tokens))

    @torch.no_grad()
    def run_precisely(self, base: Base, tokens: Tensor) -> Tensor:
        """The same, in at least fp32."""
        with self.widened(self.model):
            return base.head.wide().logits(self._states(base, tokens))

    def _states(self, base: Base, tokens: Tensor) -> Tensor:
        return base.forward(tokens, torch.arange(len(self.other), device=tokens.device).repeat(2), self.attend)

    def difference(self, base: Base) -> str:
        """In words where the base computes other logits; empty where it does not."""
        rounding = 0.3 if base.dtype.itemsize < 4 else 1e-3  # bf16 alone makes 0.07 of it in thirty layers
        for run, wanted, allowed in ((self.run_precisely, self.precise, 1e-3), (self.run, self.wanted, rounding)):
            error = float((run(base, self.texts).double() - wanted).norm() / wanted.norm())
            if not error <= allowed:
                return f"its logits come out {error:.2g} of their norm away from transformers' own"
        return ""

    def flat(self, base: Base, model: Any) -> str:
        """In words why the model cannot go the fast way; empty where it can, and does from now on."""
        base.attend_flat(model)
        return self.mixing(base) or self.difference(base)

    def mixing(self, base: Base) -> str:
        """In words where sequences of a flat batch, or the rows that adapters stand for, would mix; empty where they do not."""
        seen: list[tuple[int, int]] = []

        def note(layer: Any, inputs: tuple[Tensor], _: Tensor) -> None:
            seen.append((layer.site, inputs[0].numel() // layer.in_features))

        hooks = [linear.register_forward_hook(note) for linear in base.linears]
        half = len(self.other)
        one = self.run_precisely(base, self.texts)
        for hook in hooks:
            hook.remove()
        if len({site for site, _ in seen}) < len(seen) or any(rows != 2 * half for _, rows in seen):
            return "it uses a linear layer twice in a pass, or for some tokens only"
        if len(self.attend.options) < self.layers:
            return f"{self.layers - len(self.attend.options)} of its {self.layers} layers do not attend through transformers' registry"
        two = self.run_precisely(base, torch.cat([self.other, self.texts[half:]]))
        leak = float((two - one)[half:].norm() / one[half:].norm())
        return "" if leak <= 1e-6 else "what stands before a sequence in a flat batch changes it"
