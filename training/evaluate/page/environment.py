"""The templates of the pages, and how they write numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from adapters.prompt import LANGUAGE_NAMES
from training.evaluate.fault import Fault

_TEMPLATES: Final = Path(__file__).parent / "templates"
_NOTHING: Final = "\N{EN DASH}"
_DIGEST_CHARS: Final = 19  # sha256: and twelve digits
_MINUTE_S, _HOUR_S = 60, 3600


def render(template: str, **values: Any) -> str:
    """Return the page; whatever is no Markup is escaped."""
    return _environment().get_template(template).render(**values)


@cache  # compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        signed=signed,
        span=span,
        tag=tag,
        language=language,
        digest=digest,
        told=told,
    )
    return environment


def number(value: float | None, digits: int = 1) -> str:
    """Return 1,234.5, or a dash for what is not known."""
    return _NOTHING if value is None else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """Return +1.5 or a real minus; what rounds to nothing has no sign."""
    if value is None:
        return _NOTHING
    sign = "+" if round(value, digits) else ""
    return f"{round(value, digits) + 0.0:{sign},.{digits}f}".replace("-", "\N{MINUS SIGN}")


def span(seconds: float | None) -> str:
    """Return seconds for people: 4.1 s, 95 s, 12 min, 1.5 h."""
    if seconds is None:
        return _NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def tag(code: str) -> str:
    """Return a language's code as HTML has it."""
    return code.replace("_", "-")


def language(code: str) -> str:
    """Return a language's name, or its code where it has none here."""
    return LANGUAGE_NAMES.get(code, code)


def told(fault: str) -> str:
    """Return what a fault is, or its name where this version does not know it."""
    known = {str(one): one.told for one in Fault}
    return known.get(fault, fault)


def digest(text: str) -> str:
    """Return the beginning of a digest, which tells apart what people have."""
    return text[:_DIGEST_CHARS]
