"""The same jobs done by PEFT, with torch's AdamW in a textbook loop, or with transformers' Trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments, get_scheduler

from selfedit.engine.torch.engine import Torch
from selfedit.types import LoraShape, Trained, TrainJob


def fresh_peft(model: Any, shape: LoraShape) -> Any:
    """A transformers model with a new adapter of the model's own type."""
    targets = "all-linear" if shape.targets == ("all",) else list(shape.targets)
    blocks = model.config.get_text_config().num_hidden_layers
    layers = None if shape.layers == (0.0, 1.0) else list(range(round(shape.layers[0] * blocks), round(shape.layers[1] * blocks)))
    config = LoraConfig(
        task_type="CAUSAL_LM", r=shape.rank, lora_alpha=shape.alpha, target_modules=targets, layers_to_transform=layers, lora_dropout=0.0
    )  # type: ignore[arg-type]
    return get_peft_model(model, config).to(model.dtype)


def initial(machine: Torch, one: TrainJob) -> tuple[dict[str, Tensor], torch.Generator]:
    """A of every site as the engine draws it, and the generator that goes on to shuffle."""
    generator = torch.Generator().manual_seed(one.seed)
    down = {}
    for i in machine.base.targeted(one.lora):
        site = machine.base.sites[i]
        bound = 1 / math.sqrt(site.in_features)
        down[site.name] = torch.empty(one.lora.rank, site.in_features).uniform_(-bound, bound, generator=generator)
    return down, generator


def begin(model: Any, down: dict[str, Tensor]) -> None:
    """Give every A its first values."""
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.data.copy_(down[name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")])


def train_by_trainer(model: Any, one: TrainJob, down: dict[str, Tensor], generator: torch.Generator, scratch: Path) -> list[float]:
    """transformers' Trainer, a sequence at a time, gradients accumulated over a batch; the batches have to come out even."""
    assert len(one.data) % one.batch_size == 0
    begin(model, down)
    order = [i for _ in range(one.epochs) for i in torch.randperm(len(one.data), generator=generator).tolist()]
    rows = []
    for d in (one.data[i] for i in order):
        ids, learned = torch.tensor(d.tokens), torch.tensor(d.weights) > 0
        rows.append({"input_ids": ids, "labels": ids.where(learned, -100)})
    o = one.optimizer
    arguments = TrainingArguments(
        output_dir=str(scratch), per_device_train_batch_size=1, gradient_accumulation_steps=one.batch_size, num_train_epochs=1,
        train_sampling_strategy="sequential", learning_rate=o.lr, lr_scheduler_type=o.schedule, warmup_steps=o.warmup_steps,
        weight_decay=o.weight_decay, max_grad_norm=o.clip, adam_beta1=o.beta1, adam_beta2=o.beta2, adam_epsilon=o.eps, use_cpu=True,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False, label_names=["labels"],
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)  # type: ignore[arg-type]
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def train_peft(
    model: Any, one: TrainJob, down: dict[str, Tensor], generator: torch.Generator, penalty: Callable[[], Tensor | float] = lambda: 0.0
) -> list[float]:
    """The textbook loop: padded batches, torch's AdamW, clip_grad_norm_, transformers' schedule; a `penalty` is added to the loss."""
    begin(model, down)
    o, learned = one.optimizer, [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps, weight_decay=o.weight_decay)
    kind = "constant_with_warmup" if o.schedule == "constant" else o.schedule
    scheduler = get_scheduler(kind, optimizer, o.warmup_steps, one.epochs * math.ceil(len(one.data) / one.batch_size))
    losses = []
    for _ in range(one.epochs):
        for batch in torch.randperm(len(one.data), generator=generator).split(one.batch_size):
            data = [one.data[i] for i in batch.tolist()]
            longest = max(len(d.tokens) for d in data)
            tokens = torch.tensor([d.tokens + (0,) * (longest - len(d.tokens)) for d in data])
            weights = torch.tensor([d.weights + (0.0,) * (longest - len(d.tokens)) for d in data])[:, 1:]
            seen = torch.tensor([[1] * len(d.tokens) + [0] * (longest - len(d.tokens)) for d in data])
            logits = model(tokens, attention_mask=seen).logits[:, :-1]
            each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
            loss = (each * weights).sum() / weights.sum() + penalty()
            loss.backward()
            if o.clip:
                torch.nn.utils.clip_grad_norm_(learned, o.clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def updates(machine: Torch, trained: Trained, model: Any) -> tuple[Tensor, Tensor]:
    """scale B A of every site: the engine's and PEFT's."""
    assert trained.adapter is not None, trained
    w = machine._adapters[trained.adapter.id]
    mine, theirs = [], []
    for site, down, up in zip(machine.base.sites, w.down, w.up, strict=True):
        if down is not None and up is not None:
            layer = model.get_submodule(f"base_model.model.{site.name}")
            mine.append((w.scale * up.T @ down).flatten())
            theirs.append((layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight).flatten())
    assert mine and len(mine) == sum("lora_A" in name for name, _ in model.named_parameters())
    return torch.cat(mine), torch.cat(theirs)
