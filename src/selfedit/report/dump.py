"""A run as one object for scripts: `selfedit show RUN --json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from selfedit.ledger import Reader
from selfedit.report.comparison import compare
from selfedit.report.results import as_results
from selfedit.report.words import plain
from selfedit.types import Answer, Candidate, Question, Task


def as_object(reader: Reader) -> dict[str, Any]:
    """`run`, `tasks`, `candidates`, `results` (as in results.json), `routed`, `harvested`, `verdicts`,
    `artifacts`, `cost`. What was not measured is null."""
    info = reader.info()
    known = {"id": info.run_id, "command": info.command, "status": info.status, "version": info.version, "folder": str(reader.folder)}
    found: dict[str, Any] = plain(
        {
            "run": {**known, "recipe": info.recipe, "created_at": info.created_at, "finished_at": info.finished_at},
            "tasks": [_task(task) for task in reader.tasks()],
            "candidates": [_candidate(candidate) for candidate in reader.candidates()],
            "results": as_results(compare(reader.tasks(), reader.results(), reader.notes())),
            "routed": [asdict(one) for one in reader.routed()],
            "harvested": [asdict(one) for one in reader.harvested()],
            "verdicts": [asdict(verdict) for verdict in reader.verdicts()],
            "artifacts": [asdict(artifact) for artifact in reader.artifacts()],
            "cost": asdict(reader.cost()),
        }
    )
    return found


def _task(task: Task) -> dict[str, Any]:
    sides = {"reward_questions": task.reward_questions, "report_questions": task.report_questions}
    return {"id": task.id, "title": task.title, "context": task.context, **{side: [_question(q) for q in asked] for side, asked in sides.items()}}


def _question(question: Question) -> dict[str, Any]:
    answers = [answer for answer in (question.answer, *question.aliases) if answer]
    return {"question": question.question, "answers": answers, "kind": question.kind, "fact": question.fact, "joined": question.joined}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    proposal, edit = candidate.proposal, candidate.proposal.edit
    return {
        "task": proposal.task_id,
        "round": proposal.round,
        "index": proposal.index,
        "strategy": edit.strategy,
        "directives": dict(edit.directives),
        "problem": edit.problem,
        "turns": [{"prompt": t.prompt.text, "completion": t.completion, "finish_reason": t.finish_reason} for t in edit.turns],
        "examples": [asdict(example) for example in edit.examples],
        "dropped": [asdict(piece) for piece in edit.dropped],
        "reward": asdict(candidate.reward) | {"parts": dict(candidate.reward.parts)},
        "answers": [_answer(answer) for answer in candidate.answers],
        "losses": list(candidate.losses),
        "tokens": candidate.tokens,
        "verdicts": [asdict(verdict) for verdict in candidate.verdicts],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {"question": answer.question.question, "prediction": answer.prediction, "correct": answer.correct, "gold_logprob": answer.gold_logprob}
