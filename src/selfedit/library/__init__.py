"""What a model has learned: adapters by document, version by version, and who is asked what."""

from selfedit.library.adapters import Adapters
from selfedit.library.answering import NOBODY, calibrate, gate_of, in_use, request, routes
from selfedit.library.database import Library
from selfedit.library.gate import Gate, Route
from selfedit.library.records import Action, Document, Entry, Found, Membership, Version

__all__ = [
    "NOBODY",
    "Action",
    "Adapters",
    "Document",
    "Entry",
    "Found",
    "Gate",
    "Library",
    "Membership",
    "Route",
    "Version",
    "calibrate",
    "gate_of",
    "in_use",
    "request",
    "routes",
]
