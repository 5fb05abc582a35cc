"""transformers and PEFT as a user calls them, with every fair advantage. Nothing here is selfedit's but the records that say what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, TinyLoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tinylora import TinyLoraLayer
from torch import Tensor
from transformers import GenerationConfig, PrinterCallback, Trainer, TrainingArguments

from benchmarks.machine import Cost, timed
from benchmarks.models import open_model
from selfedit.engine.torch.vectors import Bases
from selfedit.types import LoraShape, Sampling, Tokens, TrainJob, VectorEdit

Attention = Literal["sdpa", "eager"]
ATTENTIONS: tuple[Attention, ...] = ("sdpa", "eager")
PAD = 0

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def fastest(model: Any, work: Callable[[], Cost], primary: str) -> Attention:
    """Try both attentions of transformers once, after a first run each that does not count, and stay with the faster."""
    seconds = {}
    for attention in ATTENTIONS:
        model.set_attn_implementation(attention)
        work()
        seconds[attention] = getattr(work(), primary)
    best = min(seconds, key=seconds.__getitem__)
    model.set_attn_implementation(best)
    return best


class Learner:
    """Trainer + PEFT: one adapter at a time. The adapter is fp32 on a frozen model of any type, as PEFT makes it."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: str, lora: LoraShape) -> None:
        targets: Any = "all-linear" if lora.targets == ("all",) else list(lora.targets)
        config = LoraConfig(task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0)  # type: ignore[arg-type]
        self.model, self.device = get_peft_model(open_model(folder, dtype, device), config), device

    def train(self, job: TrainJob, padded_to: int = 0, steps: int = -1) -> tuple[Cost, float]:
        """What `Trainer.train` costs (not what comes before it), and the mean loss. With `padded_to`, pads are trained on like any token."""
        for module in self.model.modules():
            if isinstance(module, LoraLayer):
                module.reset_lora_parameters("default", init_lora_weights=True)
        rows = [_row(d.tokens, padded_to) for d in job.data]
        o = job.optimizer
        with TemporaryDirectory() as scratch:
            arguments = TrainingArguments(
                output_dir=scratch, per_device_train_batch_size=job.batch_size, num_train_epochs=job.epochs, max_steps=steps, seed=job.seed,
                learning_rate=o.lr, lr_scheduler_type=o.schedule, warmup_steps=o.warmup_steps, weight_decay=o.weight_decay, max_grad_norm=o.clip,
                adam_beta1=o.beta1, adam_beta2=o.beta2, adam_epsilon=o.eps, use_cpu=self.device == "cpu", logging_strategy="no", save_strategy="no",
                report_to=[], disable_tqdm=True, dataloader_num_workers=0, dataloader_pin_memory=False, remove_unused_columns=False,
                label_names=["labels"],
            )  # fmt: skip
            trainer = Trainer(model=self.model, args=arguments, train_dataset=rows, data_collator=collate)  # type: ignore[arg-type]
            trainer.remove_callback(PrinterCallback)
            cost, done = timed(trainer.train, self.device)
        return cost, float(done.training_loss)


def _row(tokens: Tokens, padded_to: int) -> dict[str, Tensor]:
    """One sequence, labels a copy of the ids. No mask: attention is causal and pads come last, and without one it is faster."""
    ids = torch.tensor(tokens + (PAD,) * (padded_to - len(tokens)))
    return {"input_ids": ids, "labels": ids}


def collate(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One row as it is; several padded to the longest, pads not learned."""
    if len(rows) == 1:
        return {key: value[None] for key, value in rows[0].items()}
    longest = max(len(r["input_ids"]) for r in rows)
    fill = {"input_ids": PAD, "labels": -100}
    made = {key: torch.stack([torch.nn.functional.pad(r[key], (0, longest - len(r[key])), value=value) for r in rows]) for key, value in fill.items()}
    mask = torch.stack([torch.arange(longest) < len(r["input_ids"]) for r in rows]).long()
    return made | {"attention_mask": mask}


class Writer:
    """`generate` and forward passes with PEFT adapters, in the model's own type."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: str, adapters: Sequence[Path] = ()) -> None:
        self.model, self.device, self.names = open_model(folder, dtype, device), device, [a.name for a in adapters]
        self.model.generation_config = GenerationConfig(pad_token_id=PAD)  # no end token: everybody writes as much
        for adapter in adapters:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(str(adapter), adapter.name, autocast_adapter_dtype=False)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(adapter), adapter.name, autocast_adapter_dtype=False).eval()

    def generate(
        self, prompts: Sequence[Tokens], sampling: Sampling, adapter: str = "", each: int = 1, mixed: Sequence[str] | None = None
    ) -> list[list[int]]:
        """One batch padded on the left: `each` completions a prompt. `mixed` names the adapter of every row, for PEFT's batches of many adapters."""
        longest = max(map(len, prompts))
        ids = torch.tensor([(PAD,) * (longest - len(p)) + p for p in prompts], device=self.device)
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if sampling.temperature else {}
        settings = GenerationConfig(max_new_tokens=sampling.max_tokens, pad_token_id=PAD, num_return_sequences=each, **drawn)
        mask = (torch.arange(longest) >= torch.tensor([[longest - len(p)] for p in prompts])).long().to(self.device)
        more = {"adapter_names": list(mixed)} if mixed else {}
        if adapter:
            self.model.set_adapter(adapter)
        torch.manual_seed(sampling.seed)
        written: list[list[int]] = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings, **more)[:, longest:].tolist()
        assert all(len(row) == sampling.max_tokens for row in written), "generate ended early: the work would not be equal"
        return written

    @torch.no_grad()
    def logprobs(self, pairs: Sequence[tuple[Tokens, Tokens]], adapter: str = "") -> list[list[float]]:
        """Of each token of the completions after their prompts, in one batch padded on the left; logits only where the longest needs them."""
        if adapter:
            self.model.set_adapter(adapter)
        longest, kept = max(len(p) + len(c) for p, c in pairs), max(len(c) for _, c in pairs)
        ids = torch.tensor([(PAD,) * (longest - len(p) - len(c)) + p + c for p, c in pairs], device=self.device)
        real = torch.arange(longest) >= torch.tensor([[longest - len(p) - len(c)] for p, c in pairs])
        masked = {"attention_mask": real.long().to(self.device), "position_ids": (real.cumsum(1) - 1).clamp(min=0).to(self.device)}
        logits = self.model(input_ids=ids, logits_to_keep=kept + 1, use_cache=False, **(masked if len(pairs) > 1 else {})).logits[:, :-1]
        found = logits.float().log_softmax(-1).gather(2, ids[:, -kept:, None])[..., 0].tolist()
        return [row[kept - len(c) :] for row, (_, c) in zip(found, pairs, strict=True)]


class TinyLora(Writer):
    """PEFT's TinyLoRA on the basis of some edit vectors, so that it computes what the engine does."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: str, like: VectorEdit, bases: Bases) -> None:
        super().__init__(folder, dtype, device)
        basis = {bases.base.sites[site].name: one for site, one in bases.basis(like).items()}
        tied = 1 - len(like.layers) / len(basis)  # one vector for the linear layers of a layer
        targets = sorted({name.rpartition(".")[2] for name in basis})
        config = TinyLoraConfig(
            r=like.rank, u=like.width, weight_tying=tied, target_modules=targets, layers_to_transform=list(like.layers), task_type="CAUSAL_LM"
        )
        self.model = get_peft_model(self.model, config, autocast_adapter_dtype=False).eval()
        for name, module in self.model.named_modules():
            if isinstance(module, TinyLoraLayer):
                one = basis.pop(name.removeprefix("base_model.model."))
                module.tinylora_A["default"], module.tinylora_B["default"] = one.down.to(dtype), one.up.to(device, dtype)
                module.tinylora_P["default"] = one.mixes.float().to(device)
        self.vectors = list(self.model.base_model.tinylora_v["default"].values())
        assert not basis and len(self.vectors) == len(like.layers)

    @torch.no_grad()
    def under(self, edit: VectorEdit) -> TinyLora:
        """Itself, with the numbers of an edit."""
        for i, vector in enumerate(self.vectors):
            vector.copy_(torch.tensor(edit.values[i * edit.width : (i + 1) * edit.width]))
        return self
