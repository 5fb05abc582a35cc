"""The inner loop as a reward of other trainers: `reward_funcs` of TRL's `GRPOTrainer` and `RLOOTrainer`. TRL itself is not needed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from selfedit.config import MIXED, Recipe
from selfedit.errors import ConfigError, JudgeError
from selfedit.loop.round import adapt_and_score, base_answers
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.strategies import Source, find
from selfedit.types import Answer, Candidate, JudgeReply, Prompt, Proposal, Reward, Task, Turn

if TYPE_CHECKING:
    from datasets import Dataset

Messages = Sequence[dict[str, Any]]
"""A conversation, as TRL hands it over; its last turn is what the model wrote."""


class InnerLoopReward:
    """Completions are self-edits: a LoRA is trained on each and asked about its passage. What `selfedit train` would reward them with.

    Documents, questions, strategies, inner loop and reward are the recipe's. Adapters sit on a copy of the untrained model, which stays as it is,
    or on what the trainer has made of it: `follow`.
    """

    def __init__(self, recipe: Recipe, policy: Policy | None = None) -> None:
        """Opens the model and prepares the questions of every passage. `policy` is one that is open already.

        Raises ConfigError for a strategy that does not ask once for the whole passage, for a mix of strategies or a policy that picks them, and for
        a prefilter, which leaves self-edits without a reward.
        """
        if recipe.propose.policy_picks:
            raise ConfigError("a row names its strategy, so the trainer's policy cannot pick it: set propose.pick to turns")
        if recipe.propose.directives:
            raise ConfigError("a row has one completion, the material, so the trainer's policy cannot set directives: leave out propose.directives")
        if mixed := next((name for name in recipe.propose.choices if MIXED in name), None):
            raise ConfigError(f"one completion is a self-edit of one strategy, not of '{mixed}': set propose.mix to 1 and name strategies apart")
        passages = recipe.open("domain").read(recipe, recipe.docs, "train", lambda text: None)
        for name in recipe.propose.strategies:
            if not find(name, recipe.strategy).at_once:
                raise ConfigError(f"strategy '{name}' does not ask once for the whole passage, so one completion is no self-edit; take self-qa")
        if recipe.open("prefilter").cheaper:
            raise ConfigError(f"prefilter {recipe.prefilter.part} leaves self-edits without their full reward; set prefilter.type to none")
        recipe.open("reward").depends_on()
        self.recipe, self.policy = recipe, policy or open_policy(recipe)
        self.tasks = {
            task.id: task
            for task in self.policy.domain.tasks(self.policy, passages, "train", lambda done, total: None, gold=self.policy.reward.needs().gold)
        }
        self.candidates: list[Candidate] = []
        """The self-edits of the last call, with rewards, answers and the reason where there is no reward."""
        self.__name__ = f"inner_loop_{recipe.reward.part}"
        self._followed: Any = None
        self._base: dict[str, tuple[Answer, ...]] = {}
        self._replies = _Replies()

    def rows(self) -> list[dict[str, Any]]:
        """One for each task and strategy: its names, and `prompt`: a user's turn or, for a base model, a text to continue."""
        found = []
        for task in self.tasks:
            for strategy in dict.fromkeys(self.recipe.propose.strategies):
                prompt = self._prompt(task, strategy)
                asked = prompt.text if prompt.continued else [{"role": "user", "content": prompt.text}]
                found.append({"prompt": asked, "task": task, "strategy": strategy})
        return found

    def dataset(self) -> Dataset:
        """The rows as a trainer's `train_dataset`. Raises ConfigError where the datasets package is missing."""
        try:
            from datasets import Dataset
        except ModuleNotFoundError as error:
            raise ConfigError("a trainer's rows need the datasets package, which comes with TRL: pip install 'selfedit[trl]'") from error
        return Dataset.from_list(self.rows())

    def follow(self, model: Any) -> None:
        """From now on every call takes over the weights this model then has, as SEAL does it: a LoRA that the trainer trains with PEFT.

        Raises ConfigError for a model that is trained otherwise, ModelError for an adapter that is no plain LoRA over the recipe's model.
        """
        if "default" not in getattr(model, "peft_config", {}):
            raise ConfigError("only a LoRA can be followed: give the trainer a peft_config, or leave the adapters on the untrained model")
        self._take_over(model)
        self._followed = model

    def __call__(
        self,
        prompts: Sequence[str | Messages],
        completions: Sequence[str | Messages],
        *,
        task: Sequence[str | None] = (),
        strategy: Sequence[str | None] = (),
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """A reward for each completion, None where there is none: training failed, or the row has no task. Takes whole groups.

        Inner seeds are paired in a group, and are others at the trainer's next step. `completion_ids` say which completions the token limit cut off;
        without them none was.
        """
        if not len(completions) == len(task) == len(strategy):
            raise ConfigError("the reward finds passages by the columns `task` and `strategy`: train on its dataset()")
        round_, proposals, places = getattr(trainer_state, "global_step", 0), list[Proposal](), list[int]()
        for i, (name, how, completion) in enumerate(zip(task, strategy, completions, strict=True)):
            if name is None or how is None:
                continue
            prompt = self._prompt(name, how)
            turn = self._turn(prompt, _text(completion), completion_ids[i] if completion_ids else ())
            edit = self.policy.strategy(how).build(self.tasks[name].title, self.tasks[name].context, [turn])
            proposals.append(Proposal(name, round_, i, 0, edit))
            places.append(i)
        if self._followed is not None:
            self._take_over(self._followed)
        tasks = [self.tasks[name] for name in dict.fromkeys(p.task_id for p in proposals)]
        base = self._before(tasks) if self.policy.reward.needs().answers else {}
        try:
            self.candidates = adapt_and_score(self.policy, tasks, proposals, base, self._replies, range(self.recipe.inner_seeds))
        except JudgeError as error:  # a trainer is not resumed from here: it leaves the completions out
            self.candidates = [Candidate(p, Reward(None, "judge", str(error))) for p in proposals]
        found = dict(zip(places, self.candidates, strict=True))
        if log_extra:
            log_extra("examples", [len(found[i].proposal.edit.examples) if i in found else 0 for i in range(len(completions))])
            log_extra("unscored", [found[i].reward.reason if i in found else "" for i in range(len(completions))])
        if log_metric and found:
            log_metric("unscored", sum(c.reward.value is None for c in self.candidates) / len(found))
        return [found[i].reward.value if i in found else None for i in range(len(completions))]

    def _before(self, tasks: Sequence[Task]) -> dict[str, tuple[Answer, ...]]:
        """The current weights' own answers, asked once for as long as they are the same."""
        new = [task for task in tasks if task.id not in self._base]
        self._base |= {task.id: given for task, given in zip(new, base_answers(self.policy, new), strict=True)}
        return self._base

    def _prompt(self, task: str, strategy: str) -> Prompt:
        if task not in self.tasks or strategy not in self.recipe.propose.strategies:
            raise ConfigError(f"the reward knows no task '{task}' with strategy '{strategy}': train on its dataset()")
        source = Source(self.tasks[task].title, self.tasks[task].context, self.policy.chat)
        [prompt] = self.policy.strategy(strategy).ask(source)
        return prompt

    def _turn(self, prompt: Prompt, text: str, tokens: Sequence[int]) -> Turn:
        """What was written, up to where the loop would have stopped. It came to an end unless its last token stands for text."""
        stops = [text.find(stop) for stop in self.policy.sampling(self.recipe.propose, prompt, seed=0).stop if stop in text]
        if stops:
            return Turn(prompt, text[: min(stops)])
        return Turn(prompt, text, "length" if self.policy.engine.tokenizer.decode(tokens[-1:]) else "stop")

    def _take_over(self, model: Any) -> None:
        """The current weights are those of this model."""
        engine = self.policy.engine
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
            adapter = engine.load(Path(folder))
        engine.reset()
        engine.merge(adapter)
        engine.drop(adapter)
        self._base.clear()


class _Replies(dict[str, JudgeReply]):
    """A judge's replies, for as long as the process lives."""

    def recall(self, key: str) -> JudgeReply | None:
        return self.get(key)

    def remember(self, reply: JudgeReply) -> None:
        self[reply.key] = reply


def _text(completion: str | Messages) -> str:
    """What the model wrote; of a turn in several parts, those that are text."""
    said = completion if isinstance(completion, str) else completion[-1]["content"]
    return said if isinstance(said, str) else "".join(part.get("text", "") for part in said)
