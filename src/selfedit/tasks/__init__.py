"""Domains: where tasks come from, how they are asked, and how answers are judged."""

from selfedit.tasks.base import Domain, Purpose, Split, domain

__all__ = ["Domain", "Purpose", "Split", "domain"]
