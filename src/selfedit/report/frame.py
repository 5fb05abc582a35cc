"""What every page has: one look in light and dark, a policy by which only its own scripts run, by their hash, and how it is written.

Nothing in a page comes from the network, and nothing untrusted can run in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from selfedit.errors import LedgerError
from selfedit.report.words import FILTERS

DRAW = "draw.js"
"""Draws the figures of a page."""


def page(
    template: str,
    values: Mapping[str, Any],
    *,
    figures: Mapping[str, Any] = {},
    scripts: Sequence[str] = (),
    filters: Mapping[str, Callable[..., Any]] = {},
    folder: Path | None = None,
) -> str:
    """A template of this package, or of `folder`, as a page. `figures` are drawn by plotly; `scripts` are names of templates too."""
    places = [PackageLoader("selfedit.report"), *([FileSystemLoader(folder)] if folder else [])]
    environment = Environment(loader=ChoiceLoader(places), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS, grids=lambda text: Markup())
    environment.filters.update(filters)
    said = [_text(environment, name) for name in (*([DRAW] if figures else []), *scripts)]
    if figures:
        from plotly.offline import get_plotlyjs

        said.insert(0, get_plotlyjs())
    return environment.get_template(template).render(
        **values,
        figures={name: Markup(_script_json(figure)) for name, figure in figures.items()},
        scripts=[Markup(script) for script in said],
        script_hashes=[_csp_hash(script) for script in said],
        css=Markup(_text(environment, "report.css")),
    )


def save(text: str, path: Path) -> Path:
    """Write a page, whole or not at all; returns where it is. Raises LedgerError where it cannot be written."""
    draft = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LedgerError(f"cannot write the report to {path}: {error.strerror or error}; choose another place") from error
    return path


def _text(environment: Environment, name: str) -> str:
    return environment.get_template(name).render()


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _csp_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
