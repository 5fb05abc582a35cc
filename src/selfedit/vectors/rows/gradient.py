"""`gradient`: a LoRA trained by gradient descent on the very questions that rewarded the edits: what could be had with gradients."""

from __future__ import annotations

from selfedit.types import Example, LoraShape, Optimizer, TrainJob
from selfedit.vectors.rows.base import Comparison, VectorRow, vector_row

LORA, OPTIMIZER, BATCH = LoraShape(rank=8, alpha=16.0), Optimizer(lr=5e-4), 4


@vector_row(
    "gradient", label="LoRA by gradient", means="one LoRA of rank 8, trained in one pass on the questions that rewarded the edits, passages in view"
)
class ByGradient(VectorRow):
    """An upper bound, with a hundred thousand times as many numbers."""

    place = 7

    def job(self, run: Comparison) -> TrainJob:
        """The reward questions with their answers; a step sees four."""
        render = run.policy.render
        examples = [Example(q.answer, prompt=run.ask(one, q.question)) for one in run.learned for q in one.reward_questions]
        data = tuple(render.datum(example) for example in examples)
        return TrainJob(data, LORA, OPTIMIZER, 1, BATCH, run.policy.seed("gradient"))
