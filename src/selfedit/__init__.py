"""selfedit: a language model reads, writes its own training data, trains on it, is measured, and keeps what helped (SEAL, arXiv 2506.10943)."""

__version__ = "0.1.0"
