"""From a ledger to a run at work: the model is opened, and what the run depends on beyond its recipe is noted."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit import parts
from selfedit.config import CHOSEN
from selfedit.errors import DataError, LedgerError
from selfedit.ledger import Ledger, Reader
from selfedit.loop.run import Run
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy, title
from selfedit.retention import kept, own_answers
from selfedit.store.identity import recipe_of, same_model, say_versions
from selfedit.strategies import Source
from selfedit.types import Example, Passage, Watch


def begin(ledger: Ledger, watch: Watch, *, rewarded: bool = True) -> Run:
    """A run on its ledger; `rewarded` where the reward is used. Raises LedgerError where the model or a plug-in is another than it began with."""
    recipe = ledger.recipe
    if rewarded:
        ledger.note("reward", {"type": recipe.reward.part, **recipe.open("reward").depends_on()})
    note_parts(ledger)
    run = Run(open_model(ledger, watch), ledger, watch)
    run.policy.replay = tuple(replay(run))
    run.policy.worked = tuple(run.policy.domain.worked(int(getattr(recipe.inner, "worked", 0))))
    return run


def replay(run: Run) -> list[Example]:
    """Everyday prompts with the model's own answers, as many as every job of the recipe trains on."""
    n = int(getattr(run.recipe.inner, "replay", 0))
    if not n:
        return []
    file = kept.file_of(run.policy, "everyday")
    return run.step("replay", Example, "Answering everyday prompts", lambda progress: own_answers(run.policy, n, file, progress))


def open_model(ledger: Ledger, watch: Watch) -> Policy:
    """The policy of a run; its tokens are counted in the ledger."""
    with Reader(ledger.folder) as reader:
        recipe = recipe_of(reader)
    ledger.note("judge", recipe.open("domain").judge)
    say_versions(ledger, watch.say)
    with watch.stage(title(recipe)):
        policy = open_policy(recipe, say=watch.say)
        policy.count = lambda trained, written: ledger.count(train_tokens=trained, sample_tokens=written)
        same_model(ledger, recipe)
    return policy


def note_parts(ledger: Ledger) -> None:
    """The parts of the run in words, for readers that cannot import them, and the digests of plug-ins."""
    recipe = ledger.recipe
    with Reader(ledger.folder) as reader:
        noted = reader.notes()
    for module, digest in parts.digests(recipe.plugins).items():
        if noted.get(f"plug-in {module}") not in (None, digest):
            raise LedgerError(f"plug-in {module} has changed since run {ledger.run_id} was begun; restore it, or start a new run")
        ledger.note(f"plug-in {module}", digest)
    if "parts" in noted:
        return
    chosen = [parts.words(kind, getattr(recipe, key).part) for key, (kind, _) in CHOSEN.items() if getattr(recipe, key) is not None]
    strategies = [parts.words("strategy", part) for choice in recipe.propose.strategies for part in choice.split("+")]
    guards = [parts.words("guard", name) for name in recipe.guards]
    rows = [parts.words("vector_row", name) for name in getattr(recipe.inner, "rows", ())]
    ledger.note("parts", [*chosen, *strategies, *guards, *rows, *(entry.words for entry in parts.KINDS["baseline"])])


def check_lengths(run: Run, passages: Sequence[Passage]) -> None:
    """Every passage fits the model, as a training sequence and in the longest prompt of each strategy. Raises DataError naming where it stands."""
    policy, most = run.policy, run.policy.engine.context_tokens
    written = run.recipe.propose.sampling.max_tokens
    strategies = [policy.strategy(name) for choice in run.recipe.propose.strategies for name in dict.fromkeys(choice.split("+"))]
    for passage in passages:
        trained = len(policy.engine.tokenizer.encode(f"{passage.title}\n{passage.context}")) + 1
        asked = [prompt for strategy in strategies for prompt in strategy.ask(Source(passage.title, passage.context, policy.chat))]
        longest = max(asked, key=lambda prompt: len(prompt.text), default=None)
        needed = max(trained, len(policy.render.prompt(longest)) + written if longest else 0)
        if needed > most:
            where = f"{passage.source}: " if passage.source else ""
            raise DataError(
                f"{where}{passage.title!r} is too long for {run.recipe.model}: it takes {needed:,} tokens with its prompt, the model {most:,}; "
                "split it, or give it without questions, so that it is cut into passages (documents.passage_words)"
            )
