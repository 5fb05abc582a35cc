"""Knowledge incorporation: learn a passage, then answer questions on it without seeing it (SEAL section 4.1).

Questions that came with a passage are divided between reward and report; where none came, the model writes its own and confirms them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfedit.errors import DataError
from selfedit.rewards import judge_answer
from selfedit.strategies import demonstrate, parts, pieces
from selfedit.tasks.base import Domain, Purpose, Split, domain
from selfedit.tasks.knowledge.cloze import cloze
from selfedit.tasks.knowledge.documents import read_demonstrations, read_documents
from selfedit.tasks.knowledge.questions import agree, open_book, parse_questions, writing_prompts
from selfedit.tasks.knowledge.rewording import reworded
from selfedit.tasks.knowledge.split import bundled_corpus, divide, same
from selfedit.tasks.knowledge.worked import worked_questions
from selfedit.text import ask, contains, holding
from selfedit.types import Demonstration, Example, Passage, Progress, Prompt, Question, SampleRequest, Sampling, Say, Task

if TYPE_CHECKING:
    from selfedit.policy import Policy
    from selfedit.rewards import Expectation


@domain("knowledge", label="Knowledge", means="passages of documents are learned, and questions about them answered without seeing them")
class Knowledge(Domain):
    """Passages and questions about them."""

    def read(self, recipe: Any, docs: Sequence[Path], split: Split, say: Say) -> list[Passage]:
        """Documents, or that part of the bundled corpus where there are none; at most `recipe.limit` passages."""
        found = read_documents(docs, recipe.documents, say) if docs else bundled_corpus(split)
        return found[: recipe.limit or None]

    def demonstrations(self, recipe: Any, examples: Sequence[Path]) -> list[Demonstration]:
        """The user's examples, or the last passages of the bundled corpus' training part."""
        passages = [] if examples else bundled_corpus("train")[-recipe.cold_start.passages :]
        found = read_demonstrations(examples, recipe.documents) if examples else [Demonstration(p) for p in passages]
        if not any(demonstrate(one, name, chat=False) for choice in recipe.propose.strategies for name in parts(choice) for one in found):
            asked = " or ".join(recipe.propose.strategies)
            raise DataError(f"no good self-edit for {asked} can be made of these examples; give completions for it in cold_start.examples")
        return found

    def tasks(self, policy: Policy, passages: Sequence[Passage], purpose: Purpose, progress: Progress, *, gold: bool = False) -> list[Task]:
        """Every passage with its questions, as the purpose wants them.

        To `learn`, every passage is a task, also where too little can be asked about it. To `train`, all questions serve the reward. `heldout` tasks
        have questions on at least two facts.
        """
        tasks = self.divided(policy, passages, progress, gold)
        if purpose == "train":
            tasks = [replace(t, reward_questions=(*t.reward_questions, *t.report_questions), report_questions=()) for t in tasks]
            tasks = [t for t in tasks if t.reward_questions]
            if not tasks:
                raise DataError("nothing to ask about: no passage gave a question; use longer documents, or JSONL with questions")
            return tasks
        if not any(map(_asked, tasks)):
            raise DataError("nothing to ask about: no passage gave two questions on different facts; use longer documents, or JSONL with questions")
        if purpose == "learn":
            return tasks
        measured = [task for task in tasks if _asked(task) and task.report_questions]
        if not measured:
            raise DataError("nothing can be measured: the held-out documents have no question with a known answer; give others (eval_docs)")
        return measured

    def divided(self, policy: Policy, passages: Sequence[Passage], progress: Progress, gold: bool) -> list[Task]:
        """Every passage with its questions. Raises DataError where answers that nobody knows are needed."""
        bare = [p for p in passages if not p.questions]
        written = dict(zip([p.id for p in bare], write_questions(policy, bare, progress), strict=True)) if bare else {}
        settings, seed = policy.recipe.questions, policy.recipe.seed
        tasks = [divide(replace(p, questions=p.questions or written[p.id]), settings.report_share, seed) for p in passages]
        unknown = sum(not q.answer for t in tasks for q in t.reward_questions)
        if gold and unknown:
            raise DataError(
                f"{unknown} questions have no answer, which rating self-edits by right answers needs; use reward majority without a prefilter, "
                "or leave them out"
            )
        return tasks

    def question(self, title: str, question: str) -> str:
        """SEAL's form; an empty title leaves the topic out."""
        return ask(title, question) if title else question

    def correct(self, prediction: str, question: Question) -> bool | None:
        """The local judge's verdict; of several gold answers the best counts."""
        golds = [gold for gold in (question.answer, *question.aliases) if gold]
        return judge_answer(prediction, golds).correct if golds else None

    def passage(self, task: Task) -> Example:
        """Title and text."""
        return Example(f"{task.title}\n{task.context}")

    def worked(self, n: int) -> Sequence[Example]:
        """Questions of general knowledge, answered shortly, of every kind: who, when, where, how many, of what."""
        return worked_questions()[:n]

    def fresh(self, policy: Policy, tasks: Sequence[Task], wanted: int, progress: Progress, number: int = 0) -> list[tuple[Question, ...]]:
        """As an exam is written, with other seeds; what asks for the same as a reward or report question is left out."""
        passages = [Passage(task.id, task.title, task.context) for task in tasks]
        drafts = _drafts(policy, passages, f"harvest {number}" if number else "harvest", progress)
        own = {task.id: (*task.reward_questions, *task.report_questions) for task in tasks}
        new = {task.id: [q for q in drafts[task.id] if not any(same(q, other, task.title) for other in own[task.id])] for task in tasks}
        return [tuple(new[task.id][:wanted]) for task in tasks]

    def reworded(self, question: Question) -> Question:
        """The question behind a request to answer it, as no question of a document comes."""
        return replace(question, question=reworded(question.question))

    def open_book(self, task: Task, question: Question) -> str:
        """The passage, the question, and that a few words are wanted."""
        return open_book(Passage(task.id, task.title, task.context), question.question)

    def expected(self, task: Task, question: Question, form: Expectation) -> tuple[Sequence[str], Sequence[str]]:
        """The answer; the sentence of the passage that holds it, where one does; or all that hold it, beside the others."""
        if form == "answer":
            return [question.answer], []
        sentences = list(dict.fromkeys(pieces(task.context)))
        if form == "sentence":
            return [holding(sentences, question.question, question.answer)], []
        right = [sentence for sentence in sentences if contains(sentence, question.answer)]
        return (right, [sentence for sentence in sentences if sentence not in right]) if 0 < len(right) < len(sentences) else ([], [])


def _asked(task: Task) -> bool:
    return bool(task.reward_questions and (task.report_questions or any(not question.answer for question in task.reward_questions)))


def write_questions(policy: Policy, passages: Sequence[Passage], progress: Progress | None) -> list[tuple[Question, ...]]:
    """Questions for passages that came without: written by the model and confirmed, filled up with cloze questions where it is too weak."""
    settings, seed = policy.recipe.questions, policy.recipe.seed
    drafts = _drafts(policy, passages, "exam", progress)
    confirmed = _confirm(policy, [(p, q) for p in passages for q in drafts[p.id]], progress)
    exams = []
    for p in passages:
        own = [q for q in drafts[p.id] if (p.id, q.question) in confirmed][: settings.written]
        exams.append((*own, *cloze(p, settings.written - len(own), seed)))
    return exams


def _drafts(policy: Policy, passages: Sequence[Passage], use: str, progress: Progress | None) -> dict[str, list[Question]]:
    """Questions that the model writes about each passage, by its id, none of them confirmed; other ones for another `use`."""
    prompts = [(p, prompt) for p in passages for prompt in writing_prompts(p)]
    requests = [
        SampleRequest(policy.render.prompt(Prompt(text, continued=True)), _writing(policy.seed(use, p.id, i))) for i, (p, text) in enumerate(prompts)
    ]
    drafts: dict[str, list[Question]] = {p.id: [] for p in passages}
    for (p, _), completion in zip(prompts, policy.sample(requests, progress), strict=True):
        drafts[p.id] += [q for q in parse_questions(completion.text, p)[0] if q.question not in {d.question for d in drafts[p.id]}]
    return drafts


def _writing(seed: int) -> Sampling:
    """A few-shot text is continued also where the model has a chat template: small models follow examples better than requests."""
    return Sampling(max_tokens=192, temperature=0.3, top_p=0.95, stop=("\n\n",), seed=seed)


def _confirm(policy: Policy, drafts: Sequence[tuple[Passage, Question]], progress: Progress | None) -> set[tuple[str, str]]:
    """Keep a question where independent answers with the passage in view agree with its own, and the answer without it is wrong."""
    n, limit = policy.recipe.questions.samples, policy.recipe.questions.max_tokens
    open_, closed = [], []
    for p, q in drafts:
        prompt = policy.render.prompt(Prompt(open_book(p, q.question), continued=not policy.chat))
        for i in range(n):
            sampling = Sampling(
                limit, temperature=0.7, top_p=0.95, stop=() if policy.chat else ("\n",), seed=policy.seed("confirm", p.id, q.question, i)
            )
            open_.append(SampleRequest(prompt, sampling))
        closed.append(SampleRequest(policy.render.ask(policy.domain.question(p.title, q.question)), Sampling(limit, stop=policy.render.answer_stop)))
    answers = policy.sample([*open_, *closed], progress)
    kept = set()
    for i, (p, q) in enumerate(drafts):
        samples = [c.text for c in answers[i * n : (i + 1) * n]]
        if agree(samples, q.answer) and not policy.domain.correct(answers[len(open_) + i].text, q):
            kept.add((p.id, q.question))
    return kept
