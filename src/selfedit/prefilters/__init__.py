"""Cheaper rounds: a file a prefilter."""

from selfedit.prefilters.base import Base, Prefilter, prefilter

__all__ = ["Base", "Prefilter", "prefilter"]
