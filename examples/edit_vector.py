"""Steps 2 and 3 of a self-improving AI in one file: the self-edit is a vector of weight changes, learned by policy gradient. Read this first.

    python examples/edit_vector.py     # minutes on one core, after `selfedit pull smollm2-135m`; --rounds 30 --pairs 6: half an hour

Step 2, the edit: the model reads its context (a passage) and outputs d numbers, drawn around a mean that is linear in what it read. They change the
weights of a few layers, through the two largest singular directions of each weight (TinyLoRA, arXiv 2602.04118).
Step 3, REINFORCE: apply the edit, evaluate on questions, revert; the gradient of the reward moves the policy. The reward is the log-likelihood of
short right answers with the passage in view: a skill, because so few numbers cannot hold what a passage says.

Plain torch and transformers. Of selfedit it takes the model's folder and the bundled documents, nothing else. Left out:
batches (`selfedit train --edits vector` puts many edits in a pass), penalties, statistics, and what one edit for all, or a prompt, would reach.
Letters: d numbers of an edit, F features of a context, T tokens of a prompt, A of an answer.
"""

import argparse
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfedit.models import resolve

LAYERS, RANK, WIDTH = 6, 2, 4  # edited layers; singular directions of a weight; numbers of a layer, shared by its linear layers
SIGMA, LR = 0.1, 0.06  # standard deviation of an edit's numbers, and the rate of Adam, at first; a quarter at the end


def read_tasks(corpus: Path, split: str, limit: int) -> list[dict]:
    return [row for row in map(json.loads, corpus.read_text(encoding="utf-8").splitlines()) if row["split"] == split][:limit]


class Basis:
    """Step 2: which directions of the weights d numbers move. W becomes W + U √Σ (Σ_j a_j P_j) √Σ Vᵀ in the linear layers of some layers."""

    def __init__(self, model, layers: list[int], seed: int) -> None:
        self.d, self.parts, generator = WIDTH * len(layers), [], torch.Generator().manual_seed(seed)
        for place, layer in enumerate(layers):
            for module in model.model.layers[layer].modules():
                if isinstance(module, torch.nn.Linear):
                    U, S, Vh = torch.linalg.svd(module.weight, full_matrices=False)
                    root = S[:RANK].sqrt().diag()
                    P = torch.randn(WIDTH, RANK, RANK, generator=generator) / RANK**0.5
                    self.parts.append((module.weight, U[:, :RANK] @ root, P, root @ Vh[:RANK], slice(WIDTH * place, WIDTH * (place + 1))))

    @contextmanager
    def applied(self, a_d: Tensor) -> Iterator[None]:
        """The edited model. Afterwards every weight is what it was, to the last bit: a copy is put back, nothing is subtracted."""
        before = [weight.clone() for weight, *_ in self.parts]
        for weight, up, P, down, own in self.parts:
            weight.add_(up @ torch.einsum("u,urs->rs", a_d[own], P) @ down)
        yield
        for (weight, *_), old in zip(self.parts, before, strict=True):
            weight.copy_(old)


def read(model, tok, tasks: list[dict]) -> list[Tensor]:
    """φ(C)_F: 1, and where the model's mean last hidden state of each passage lies along the direction in which the passages differ most."""
    states = torch.stack([model.model(tok(one["context"], return_tensors="pt").input_ids).last_hidden_state[0].mean(0) for one in tasks])
    states = (states - states.mean(0)) / (states.std(0) + 1e-6)
    along = states @ torch.linalg.svd(states, full_matrices=False)[2][0]
    return [torch.tensor([1.0, float(x)]) for x in along / (along.std() + 1e-6)]


class Policy:
    """π(a | C) = N(M φ(C), σ² I). M begins at zero: at first an edit is nothing but noise."""

    def __init__(self, d: int, features: int) -> None:
        self.M, self.sigma = torch.zeros(d, features, requires_grad=True), SIGMA
        self.optimizer = torch.optim.Adam([self.M], lr=LR)

    def log_probability(self, a_d: Tensor, phi_F: Tensor) -> Tensor:
        return -((a_d - self.M @ phi_F) ** 2).sum() / (2 * self.sigma**2)  # without what does not depend on M


def likelihood(model, tok, task: dict, asked: list[dict]) -> float:
    """Step 3, downstream performance: the mean log-likelihood a token of short right answers, with the passage in view."""
    found = []
    for one in asked:
        turn = [{"role": "user", "content": f"{task['context']}\n\nTopic: {task['title']}\n{one['question']}"}]
        prompt_T = tok.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        answer_A = [*tok(one["answer"], add_special_tokens=False).input_ids, tok.eos_token_id]
        logits = model(torch.tensor([prompt_T + answer_A]), logits_to_keep=len(answer_A) + 1).logits[0, :-1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(answer_A)[:, None]).mean())
    return float(torch.stack(found).mean())


def reinforce(policy: Policy, model, tok, basis: Basis, tasks: list[dict], phi: list[Tensor], args, chooser: random.Random) -> float:
    """One update: for each passage P antithetic pairs μ ± σε on the same questions, so that luck cancels. Returns the mean reward."""
    loss, rewards = torch.zeros(()), []
    for task, phi_F in zip(tasks, phi, strict=False):  # those of held-out passages come after
        asked = chooser.sample(task["questions"], min(args.questions, len(task["questions"])))
        for _ in range(args.pairs):
            noise, pair = policy.sigma * torch.randn(basis.d), []
            for sign in (1, -1):
                a_d = (policy.M @ phi_F + sign * noise).detach()  # (1) the policy generates a candidate edit
                with basis.applied(a_d):  # (2) it is applied for a moment,
                    pair.append((a_d, likelihood(model, tok, task, asked)))  # evaluated on questions, and reverted
            baseline = (pair[0][1] + pair[1][1]) / 2
            rewards.append(baseline)
            for a_d, reward in pair:
                loss = loss - (reward - baseline) * policy.log_probability(a_d, phi_F) / (2 * args.pairs * len(tasks))
    policy.optimizer.zero_grad()
    loss.backward()  # the policy gradient: E[(R - b) ∇ log π]
    policy.optimizer.step()
    return sum(rewards) / len(rewards)


def run(args) -> list[float]:
    torch.manual_seed(args.seed)
    tok = AutoTokenizer.from_pretrained(resolve(args.model))
    model = AutoModelForCausalLM.from_pretrained(resolve(args.model), dtype=torch.float32)  # bfloat16 would round small edits away
    n = len(model.requires_grad_(False).model.layers)
    basis = Basis(model, sorted({max(0, round((i + 1) * n / LAYERS) - 1) for i in range(LAYERS)}), args.seed)  # evenly spread, the last among them
    train, held_out = (read_tasks(args.corpus, split, args.passages) for split in ("train", "heldout"))
    phi = read(model, tok, [*train, *held_out])
    policy, chooser, results = Policy(basis.d, features=2), random.Random(args.seed), []
    for number in range(args.rounds + 1):
        if number:
            share = 0.25 ** ((number - 1) / max(1, args.rounds - 1))  # at a fixed σ rewards rise, and then fall
            policy.sigma, policy.optimizer.param_groups[0]["lr"] = SIGMA * share, LR * share
            print(f"round {number}: reward {reinforce(policy, model, tok, basis, train, phi, args, chooser):.2f}", flush=True)
        results.append(0.0)  # M is zero at first: the untrained model
        for task, phi_F in zip(held_out, phi[len(train) :], strict=True):
            with basis.applied((policy.M @ phi_F).detach()):
                results[-1] += likelihood(model, tok, task, task["questions"]) / len(held_out)
    print(f"right answers on held-out passages, nats a token: {results[0]:.2f} untrained, {results[-1]:.2f} under the edits of {basis.d} numbers")
    return results


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="Edit vectors in one file", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--model", default="smollm2-135m", help="a chat model: a folder, or a name that selfedit knows")
    p.add_argument("--corpus", type=Path, default=files("selfedit") / "data/corpus.jsonl", help="JSONL: title, context, split, questions")
    p.add_argument("--passages", type=int, default=4, help="that the policy learns from, and as many held-out ones that it is evaluated on")
    p.add_argument("--questions", type=int, default=3, help="questions of an evaluation")
    p.add_argument("--pairs", type=int, default=2, help="pairs of edits of each passage")
    p.add_argument("--rounds", type=int, default=6, help="updates of the policy")
    p.add_argument("--seed", type=int, default=0, help="of everything")
    return p


if __name__ == "__main__":
    run(parser().parse_args())
