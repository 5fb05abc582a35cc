"""What a model must not lose by learning: everyday prompts with its own answers to them, and probes of what it can do."""

from selfedit.retention.everyday import Everyday, calibration, everyday, own_answers
from selfedit.retention.probes import Change, Probe, Probed, Put, ask_probes, cache_of, compared, probes

__all__ = ["Change", "Everyday", "Probe", "Probed", "Put", "ask_probes", "cache_of", "calibration", "compared", "everyday", "own_answers", "probes"]
