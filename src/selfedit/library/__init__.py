"""What a model has learned: adapters by document, version by version, and who is asked what."""

from selfedit.library.answering import calibrate, gate_of, request, routes
from selfedit.library.database import Action, Document, Entry, Found, Library, Version
from selfedit.library.gate import Gate, Route
from selfedit.library.routing import Adapters

__all__ = [
    "Action",
    "Adapters",
    "Document",
    "Entry",
    "Found",
    "Gate",
    "Library",
    "Route",
    "Version",
    "calibrate",
    "gate_of",
    "request",
    "routes",
]
