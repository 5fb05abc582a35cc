"""SEAL (arXiv 2506.10943) in one file: a language model writes its own training data, trains on it, and learns to write better. Read this first.

    python examples/seal.py        # minutes on one core, after `selfedit pull smollm2-135m`; --train 33 --heldout 18 --edits 5 --rounds 2: hours

Plain torch, transformers and peft. Of selfedit it takes the model's folder and the bundled documents, nothing else. Left out, and why:
1. Batched training. Adapters are trained one after another, to be read; most of the time goes there. The engine trains many in one pass.
2. The ledger and the guards. Numbers are printed and gone, a killed run starts again, and nobody notices forgetting or edits that become all alike.
3. Choice and statistics. One strategy (self-QA), reward (correct answers, noisy), algorithm (ReST-EM), no intervals; the default model scores 0.
Letters at the end of a name are its shape: T tokens, A learned tokens, V vocabulary, N examples, B batch, K self-edits of a task, Q questions.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfedit.models import resolve

WRITE = """Let's read the following passage and rewrite it in a question-answer format. Ask about every name, number, date and reason in it; \
each question names what it is about, each answer has a few words. Write each pair on two lines, the first beginning with "Question:", \
the second with "Answer:".\n\nPassage:\n{title}\n{context}"""
PAIR = re.compile(r"^[\W\d]*(?:question|q)\s*\d*\W*:[\s*]*(\S.*?)\s+\W*(?:answer|a)\s*\d*\W*:[\s*]*(?!question)([^\s*].*?)\s*$", re.I | re.M)
Example = tuple[list[int], list[bool]]  # tokens_T, learned_T: the loss is on the tokens that are True
Edit = tuple[list[Example], Example]  # a self-edit: what to learn the passage from; what teaches the policy to write the same again


class Task(NamedTuple):
    """SEAL's (C, tau): a passage and its questions with gold answers. No fact is asked about in both the reward and the report."""

    title: str
    context: str
    reward: list[tuple[str, str]]
    report: list[tuple[str, str]]


def read_tasks(corpus: Path, split: str, limit: int, seed: int) -> Iterator[Task]:
    rows = [row for row in map(json.loads, corpus.read_text(encoding="utf-8").splitlines()) if row["split"] == split]
    chooser = random.Random(seed)
    for row in chooser.sample(rows, min(limit, len(rows))):
        facts = sorted({q["fact"] for q in row["questions"]})
        rewarded = set(chooser.sample(facts, len(facts) // 2))  # by fact: the corpus asks about each fact in two wordings
        reward, report = ([(q["question"], q["answer"]) for q in row["questions"] if (q["fact"] in rewarded) is side] for side in (True, False))
        yield Task(row["title"], row["context"], reward, report)


def correct(prediction: str, gold: str) -> bool:
    """The judge: at least 60 % of the gold answer's words are there. Agrees with GPT-4.1 on 88 % of SEAL's released answers."""
    said, wanted = (Counter(w for w in re.findall(r"\w+", text.lower()) if w not in ("a", "an", "the")) for text in (prediction, gold))
    return (said & wanted).total() >= 0.6 * wanted.total() > 0


def chat(tok, user: str) -> list[int]:  # a user's turn in the chat template, up to where the answer begins
    return tok.apply_chat_template([{"role": "user", "content": user}], add_generation_prompt=True, return_dict=False)


def answered(tok, user: str, answer: str, ended: bool = True) -> Example:
    """The same with its answer, which is what is learned; with the end token unless the answer was cut off."""
    prompt_T, answer_A = chat(tok, user), tok(answer, add_special_tokens=False).input_ids + [tok.eos_token_id] * ended
    return prompt_T + answer_A, [False] * len(prompt_T) + [True] * len(answer_A)


def complete(model, tok, prompts: list[list[int]], max_tokens: int, **sampling) -> list[tuple[str, bool]]:
    """(text, whether it ended by itself) for each prompt; shorter prompts are padded on the left."""
    batch = tok.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    out = model.generate(**batch, max_new_tokens=max_tokens, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, **sampling)
    return [(tok.decode(new, skip_special_tokens=True), tok.eos_token_id in new) for new in out[:, batch.input_ids.shape[1] :]]


def count_correct(model, tok, title: str, exam_Q: list[tuple[str, str]]) -> int:
    """Greedy answers without the passage: what is not in the weights cannot be said."""
    answers_Q = complete(model, tok, [chat(tok, f"Topic: {title}\n{question}") for question, _ in exam_Q], 24, do_sample=False)
    return sum(correct(answer, gold) for (answer, _), (_, gold) in zip(answers_Q, exam_Q, strict=True))


@contextmanager
def lora(model, rank: int, seed: int, merge: bool = False):
    """The model with a fresh LoRA on all linear layers. Afterwards it is dropped, and the weights are what they were, or merged into them."""
    torch.manual_seed(seed)  # the same start for every edit, so that rewards differ by the edit and not by luck
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    yield adapted
    _ = adapted.merge_and_unload() if merge else adapted.unload()


def sft(model, examples_N: list[Example], lr: float, epochs: int, batch: int, seed: int) -> None:
    """Supervised fine-tuning of the LoRA: the inner loop, and the update of the outer loop."""
    weights, shuffler = [p for p in model.parameters() if p.requires_grad], random.Random(seed)
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=0.0)
    shuffled = [shuffler.sample(examples_N, len(examples_N)) for _ in range(epochs)]
    batches = [epoch_N[at : at + batch] for epoch_N in shuffled for at in range(0, len(epoch_N), batch)]
    for step, examples_B in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / len(batches))  # linear decay to 0, no warm-up
        n_learned = sum(sum(learned[1:]) for _, learned in examples_B)
        for tokens, learned in examples_B:  # one sequence at a time, gradients add up: no padding
            tokens_T, learned_T = torch.tensor(tokens, device=model.device), torch.tensor(learned, device=model.device)
            before_A = learned_T[1:].nonzero().flatten()  # positions whose next token is learned; the others need no logits
            logp_AV = model(tokens_T[None], logits_to_keep=before_A).logits[0].float().log_softmax(-1)
            objective = logp_AV.gather(1, tokens_T[before_A + 1, None]).sum()  # log-likelihood of the learned tokens, not of the prompt
            objective = objective / n_learned  # normaliser: the batch's learned tokens, so that every token weighs the same, whatever its example
            (-objective).backward()  # sign: the likelihood shall rise, and optimizers descend
        torch.nn.utils.clip_grad_norm_(weights, 1.0)  # one surprising example must not undo the others
        optimizer.step()
        optimizer.zero_grad()


def propose(policy, tok, task: Task, args, seed: int) -> Iterator[Edit]:
    """K self-edits: pairs that are learned in the form in which questions are asked, and the passage itself as the last example."""
    torch.manual_seed(seed)
    prompt = WRITE.format(title=task.title, context=task.context)
    sampling = {"do_sample": True, "temperature": args.temperature, "top_p": 0.95, "top_k": 0}
    for text, ended in complete(policy, tok, [chat(tok, prompt)] * args.edits, 192, **sampling):
        pairs = PAIR.findall(text if ended else text.rpartition("\n")[0])  # the token limit cuts through the last line
        passage_T = tok(f"{task.title}\n{task.context}").input_ids
        examples_N = [*(answered(tok, f"Topic: {task.title}\n{q}", a) for q, a in dict(pairs).items()), (passage_T, [True] * len(passage_T))]
        yield examples_N, answered(tok, prompt, text, ended)


def inner_loop(model, tok, task: Task, examples_N: list[Example], epochs: int, args) -> tuple[int, int]:
    """Train a LoRA on the examples, count its correct answers to the reward and to the report questions, drop it."""
    with lora(model, 16, args.seed) as adapted:
        sft(adapted, examples_N, lr=1e-3, epochs=epochs, batch=1, seed=args.seed)
        reward, report = (count_correct(adapted, tok, task.title, exam_Q) for exam_Q in (task.reward, task.report))
    print(f"  {task.title}, {len(examples_N) - 1} pairs: reward {reward} of {len(task.reward)}, report {report} of {len(task.report)}", flush=True)
    return reward, report


def outer_loop(policy, tok, tasks: list[Task], args, seed: int) -> None:
    """One round of ReST-EM (arXiv 2312.06585): sample, keep the best edit of each task, learn to write it, merge."""
    best_N = []
    for task in tasks:
        edits_K = list(propose(policy, tok, task, args, seed))
        rewards_K = [sum(inner_loop(policy, tok, task, examples_N, args.epochs, args)) for examples_N, _ in edits_K]  # all its questions
        best_N.append(edits_K[rewards_K.index(max(rewards_K))][1])  # of equals the first
        print("  best kept" if len(set(rewards_K)) > 1 else "  equal rewards: the first is kept, which teaches nothing")
    with lora(policy, 64, seed, merge=True) as adapted:
        sft(adapted, best_N, lr=3e-4, epochs=2, batch=10, seed=seed)


def evaluate(policy, tok, tasks: list[Task], args) -> Counter:
    """Correct answers to the report questions, by what was learned. The best edit is chosen by the reward questions."""
    rows: Counter[str] = Counter()
    for task in tasks:
        edits_K = list(propose(policy, tok, task, args, args.seed))
        scores_K = [inner_loop(policy, tok, task, examples_N, args.epochs, args) for examples_N, _ in edits_K]
        (_, report), (best_N, _) = max(zip(scores_K, edits_K, strict=True), key=lambda pair: pair[0][0])  # of equals the first
        epochs = round(args.epochs * sum(len(tokens) for tokens, _ in best_N) / len(best_N[-1][0]))
        rows["the policy itself, nothing learned"] += count_correct(policy, tok, task.title, task.report)
        rows["passage only, as many tokens as the best self-edit"] += inner_loop(policy, tok, task, best_N[-1:], epochs, args)[1]
        rows["passage + self-edit, mean of K"] += sum(report for _, report in scores_K) / len(scores_K)
        rows["passage + self-edit, best of K"] += report
    return rows


def run(args) -> list[Counter]:
    tok = AutoTokenizer.from_pretrained(resolve(args.model))
    policy = AutoModelForCausalLM.from_pretrained(resolve(args.model), dtype=args.dtype)
    policy.to("cuda" if torch.cuda.is_available() else "cpu")
    train, heldout = (list(read_tasks(args.corpus, split, limit, args.seed)) for split, limit in (("train", args.train), ("heldout", args.heldout)))
    results = []
    for n in range(args.rounds + 1):
        if n:
            print(f"round {n}: training documents")
            outer_loop(policy, tok, train, args, args.seed + n)
        print(f"after round {n}: held-out documents")
        results.append(evaluate(policy, tok, heldout, args))
    print(f"\n{f'correct report answers, n = {sum(len(task.report) for task in heldout)}':52}" + "".join(f"  round {r}" for r in range(len(results))))
    for row in results[0]:
        print(f"{row:52}" + "".join(f"{result[row]:9.1f}" for result in results))
    print(f"{len(heldout)} held-out documents, one seed: this shows how SEAL works, not whether. K = {args.edits}; best by the reward questions.")
    return results


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="SEAL in one file", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--model", default="smollm2-135m", help="a chat model: a folder, or a name that selfedit knows")
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    p.add_argument("--dtype", default="bfloat16" if fast else "float32", help="of the weights; bfloat16 rounds most of a small merge away")
    p.add_argument("--corpus", type=Path, default=files("selfedit") / "data/corpus.jsonl", help="JSONL: title, context, split, questions")
    p.add_argument("--train", type=int, default=2, help="documents the policy learns from")
    p.add_argument("--heldout", type=int, default=2, help="documents it is evaluated on")
    p.add_argument("--edits", type=int, default=2, help="self-edits of each document (K)")
    p.add_argument("--rounds", type=int, default=1, help="rounds of the outer loop")
    p.add_argument("--epochs", type=int, default=10, help="epochs of the inner loop")
    p.add_argument("--temperature", type=float, default=0.5, help="of the self-edits; SEAL's is 1, at which this small model rambles")
    p.add_argument("--seed", type=int, default=0, help="of everything")
    return p


if __name__ == "__main__":
    run(parser().parse_args())
