"""From documents to tasks: questions that came with a passage are divided; where none came, the model writes its own exam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from selfedit.config import Recipe, Selective
from selfedit.engine.base import Progress
from selfedit.errors import DataError
from selfedit.policy import Policy, derive
from selfedit.rewards import correct, needs
from selfedit.strategies import demonstrate, parts
from selfedit.tasks.knowledge.questions import agree, cloze, open_book, parse_questions, writing_prompts
from selfedit.tasks.knowledge.split import bundled_corpus, divide, read_demonstrations, read_documents
from selfedit.types import Demonstration, Passage, Prompt, Question, SampleRequest, Sampling, Task


def read(recipe: Recipe, docs: Sequence[Path], split: Literal["train", "heldout"]) -> list[Passage]:
    """The passages of the documents, or that part of the bundled corpus where there are none; at most `recipe.limit`. Needs no model."""
    found = read_documents(docs, recipe.documents) if docs else bundled_corpus(split)
    return found[: recipe.limit or None]


def shown(recipe: Recipe, examples: Sequence[Path]) -> list[Demonstration]:
    """What the cold start shows: the user's examples, or the last passages of the bundled corpus' training part. Needs no model.

    Raises DataError where nothing can be made of it for any strategy of the recipe.
    """
    settings = recipe.cold_start
    passages = [] if examples else bundled_corpus("train")[-settings.passages :]
    found = read_demonstrations(examples, recipe.documents) if examples else [Demonstration(p) for p in passages]
    if not any(demonstrate(one, strategy, chat=False) for choice in recipe.propose.strategies for strategy in parts(choice) for one in found):
        asked = " or ".join(recipe.propose.strategies)
        raise DataError(f"no good self-edit for {asked} can be made of these examples; give completions for it in cold_start.examples")
    return found


def examine(policy: Policy, passages: Sequence[Passage], progress: Progress | None = None) -> list[Task]:
    """A task for every passage that has at least two facts to ask about, or questions to which nobody knows the answer.

    Raises DataError as `learning_exams` does.
    """
    return [task for task in learning_exams(policy, passages, progress) if _asked(task)]


def learning_exams(policy: Policy, passages: Sequence[Passage], progress: Progress | None = None) -> list[Task]:
    """A task for every passage: what is to be learned is learned also where too little can be asked about it.

    Raises DataError where no passage has at least two facts to ask about, and as `divided` does.
    """
    tasks = divided(policy, passages, progress)
    if not any(map(_asked, tasks)):
        raise DataError("nothing to ask about: no passage gave two questions on different facts; use longer documents, or JSONL with questions")
    return tasks


def _asked(task: Task) -> bool:
    return bool(task.reward_questions and (task.report_questions or any(not question.answer for question in task.reward_questions)))


def divided(policy: Policy, passages: Sequence[Passage], progress: Progress | None, gold: bool = False) -> list[Task]:
    """Every passage with its questions.

    Raises DataError where answers that nobody knows are needed: by the reward, by the screen, or (`gold`) in any case.
    """
    bare = [p for p in passages if not p.questions]
    written = dict(zip([p.id for p in bare], write_exams(policy, bare, progress), strict=True)) if bare else {}
    settings, seed = policy.recipe.questions, policy.recipe.seed
    tasks = [divide(replace(p, questions=p.questions or written[p.id]), settings.report_share, seed) for p in passages]
    unknown = sum(not q.answer for t in tasks for q in t.reward_questions)
    gold = gold or needs(policy.recipe.reward).gold or isinstance(policy.recipe.prefilter, Selective)
    if gold and unknown:
        who = f"reward {policy.recipe.reward.type} needs" if needs(policy.recipe.reward).gold else "rating self-edits by right answers needs"
        raise DataError(f"{unknown} questions have no answer, which {who}; use reward majority without a screen, or leave them out")
    return tasks


def training_exams(policy: Policy, passages: Sequence[Passage], progress: Progress | None = None, gold: bool = False) -> list[Task]:
    """As `examine`, for documents that a policy learns to write from: nothing is reported on them, so every question serves the reward."""
    tasks = divided(policy, passages, progress, gold)
    asked = [replace(t, reward_questions=(*t.reward_questions, *t.report_questions), report_questions=()) for t in tasks]
    if not any(t.reward_questions for t in asked):
        raise DataError("nothing to ask about: no passage gave a question; use longer documents, or JSONL with questions")
    return [t for t in asked if t.reward_questions]


def held_out_exams(policy: Policy, passages: Sequence[Passage], progress: Progress | None = None) -> list[Task]:
    """As `examine`, for documents that are there to be measured on. Raises DataError where nobody knows the answer to any question about them."""
    if exams := [task for task in examine(policy, passages, progress) if task.report_questions]:
        return exams
    raise DataError("nothing can be measured: the held-out documents have no question with a known answer; give others (eval_docs)")


def named_apart(passages: Sequence[Passage], others: Sequence[Task]) -> Sequence[Passage]:
    """The passages under ids that no other task has: files of both may have the same name."""
    taken = {task.id for task in others}
    while any(passage.id in taken for passage in passages):
        passages = [replace(passage, id=f"held-out-{passage.id}") for passage in passages]
    return passages


def write_exams(policy: Policy, passages: Sequence[Passage], progress: Progress | None = None) -> list[tuple[Question, ...]]:
    """Questions for passages that came without: written by the model and confirmed, filled up with cloze questions where it is too weak."""
    settings, seed = policy.recipe.questions, policy.recipe.seed
    prompts = [(p, prompt) for p in passages for prompt in writing_prompts(p, settings.written, chat=False)]
    drawn = policy.sample(
        [SampleRequest(policy.prompt(Prompt(text, continued=True)), _writing(derive(seed, "exam", p.id, i))) for i, (p, text) in enumerate(prompts)],
        progress,
    )
    drafts: dict[str, list[Question]] = {p.id: [] for p in passages}
    for (p, _), completion in zip(prompts, drawn, strict=True):
        drafts[p.id] += [q for q in parse_questions(completion.text, p)[0] if q.question not in {d.question for d in drafts[p.id]}]
    confirmed = _confirm(policy, [(p, q) for p in passages for q in drafts[p.id]], progress)
    exams = []
    for p in passages:
        own = [q for q in drafts[p.id] if (p.id, q.question) in confirmed][: settings.written]
        exams.append((*own, *cloze(p, settings.written - len(own), seed)))
    return exams


def _writing(seed: int) -> Sampling:
    """A few-shot text is continued also where the model has a chat template: small models follow examples better than requests."""
    return Sampling(max_tokens=192, temperature=0.3, top_p=0.95, stop=("\n\n",), seed=seed)


def _confirm(policy: Policy, drafts: Sequence[tuple[Passage, Question]], progress: Progress | None) -> set[tuple[str, str]]:
    """Keep a question where independent answers with the passage in view agree with its own, and the answer without it is wrong."""
    n, limit, seed = policy.recipe.questions.samples, policy.recipe.questions.max_tokens, policy.recipe.seed
    open_, closed = [], []
    for p, q in drafts:
        prompt = policy.prompt(Prompt(open_book(p, q.question), continued=not policy.chat))
        for i in range(n):
            sampling = Sampling(
                limit, temperature=0.7, top_p=0.95, stop=() if policy.chat else ("\n",), seed=derive(seed, "confirm", p.id, q.question, i)
            )
            open_.append(SampleRequest(prompt, sampling))
        closed.append(SampleRequest(policy.question(p.title, q.question), Sampling(limit, stop=() if policy.chat else ("\n",))))
    answers = policy.sample([*open_, *closed], progress)
    kept = set()
    for i, (p, q) in enumerate(drafts):
        samples = [c.text for c in answers[i * n : (i + 1) * n]]
        if agree(samples, q.answer) and not correct(answers[len(open_) + i].text, q.answer):
            kept.add((p.id, q.question))
    return kept
