"""The loop: tasks → propose → adapt → score → select → learn, every arrow written to the ledger. Begin with `round.py`."""

from selfedit.loop.begin import begin
from selfedit.loop.consolidate import consolidate
from selfedit.loop.evaluate import evaluate
from selfedit.loop.learn import learn_documents
from selfedit.loop.reliability import study_reliability
from selfedit.loop.run import Run
from selfedit.loop.train import train_policy
from selfedit.loop.vectors import train_vectors

__all__ = ["Run", "begin", "consolidate", "evaluate", "learn_documents", "study_reliability", "train_policy", "train_vectors"]
