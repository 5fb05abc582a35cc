"""SEAL's inner loop as the reward of somebody else's trainer: TRL's GRPO (or RLOO) teaches a model to write self-edits.

    python examples/trl_grpo.py                                     # a tiny random model, seconds on a CPU: it shows that all fits together
    python examples/trl_grpo.py --model Qwen/Qwen3-0.6B --follow    # a real one, --steps 200 --generations 8: hours without a GPU

The trainer writes completions, the reward trains a LoRA on each and asks it about the passage, the trainer learns from what came of it.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from selfedit.config import Recipe, parse_recipe
from selfedit.integrations.trl import InnerLoopReward
from selfedit.models import resolve, tiny

TRAINERS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}
BABBLE = "1. The weir is old.\n2. The lamp is tall.\n3. The gate was red.\n"


def babbling(folder: Path) -> Path:
    """A tiny random model that was taught to write lines, about nothing: some are read as self-edits and some are not, so that rewards differ."""
    tiny("llama", folder)
    tok, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens = torch.tensor([tok.encode(f"<|im_start|>assistant\n{BABBLE}<|im_end|>")])
    for _ in range(60):
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def recipe(model: str, quick: bool) -> Recipe:
    """What the self-edits are for: documents and questions (the bundled ones), how they are asked for, what they are worth."""
    settings = {"model": model, "propose": {"strategies": ["key-facts"]}, "reward": {"type": "likelihood"}}
    small = {"limit": 2, "inner": {"epochs": 2}, "questions": {"max_tokens": 8}, "engine": {"type": "torch", "device": "cpu", "dtype": "float32"}}
    return parse_recipe(settings | (small if quick else {}))


def run(args: argparse.Namespace) -> list[float]:
    """The mean reward of every step."""
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or str(babbling(Path(scratch) / "tiny"))
        reward = InnerLoopReward(recipe(model, quick=not args.model))
        kind, settings = TRAINERS[args.trainer]
        trainer = kind(
            model=str(resolve(model, pull=True)),
            reward_funcs=reward,
            train_dataset=reward.dataset(),
            peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
            args=settings(
                output_dir=scratch,
                max_steps=args.steps,
                per_device_train_batch_size=args.generations,  # one passage a step, a whole group at a time
                num_generations=args.generations,
                max_completion_length=64 if not args.model else reward.recipe.propose.sampling.max_tokens,
                learning_rate=1e-4,
                use_cpu=not args.model,
                bf16=bool(args.model),
                logging_steps=1,
                save_strategy="no",
                report_to="none",
            ),
        )
        if args.follow:
            reward.follow(trainer.model)  # SEAL's way: the inner loop sits on what the trainer has made of the model
        trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    for step, value in enumerate(rewards, start=1):
        print(f"step {step}: mean reward {value:+.4f} nats")
    for candidate in reward.candidates:
        edit, value = candidate.proposal.edit, candidate.reward.value
        scored = f"{value:+.4f} nats" if value is not None else candidate.reward.reason
        print(f"last step, {edit.strategy} on {candidate.proposal.task_id}: {len(edit.examples)} examples, {scored}")
    return rewards


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="TRL's GRPO or RLOO with the inner loop as reward", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--model", help="a chat model: a folder, or a name that selfedit knows (default: a tiny random one)")
    p.add_argument("--trainer", choices=sorted(TRAINERS), default="grpo", help="which of TRL's trainers")
    p.add_argument("--steps", type=int, default=3, help="steps of the trainer")
    p.add_argument("--generations", type=int, default=4, help="self-edits of a passage in each step")
    p.add_argument("--follow", action="store_true", help="train inner adapters on the trainer's current weights, not on the untrained model")
    return p


if __name__ == "__main__":
    run(parser().parse_args())
