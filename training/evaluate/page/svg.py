"""The marks that charts are made of; all text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

SVG: Final = Markup(
    '<svg class="{kind}" viewBox="0 0 {width} {height:.0f}" role="img" '
    'aria-label="{label}">{inside}</svg>'
)
RECT: Final = Markup(
    '<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" '
    'fill="{fill}"><title>{title}</title></rect>'
)
TEXT: Final = Markup(
    '<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
)
LINE: Final = Markup(
    '<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
    'stroke-width="{width}" stroke-opacity="{opacity}"/>'
)


def drawing(width: int, height: float, label: str, marks: Iterable[Markup], *, kind: str) -> Markup:
    """Return the marks as one picture; `label` is what is read aloud, `kind` its CSS class."""
    inside = Markup("").join(marks)
    return SVG.format(width=width, height=height, label=label, inside=inside, kind=kind)


def text(x: float, y: float, words: object, *, anchor: str = "start", kind: str = "") -> Markup:
    """Return words at a place; y is their baseline."""
    return TEXT.format(x=x, y=y, text=words, anchor=anchor, kind=kind)


def line(
    start: tuple[float, float], end: tuple[float, float], *, width: float = 1, opacity: float = 1
) -> Markup:
    """Return a straight line in the colour of the text."""
    (x1, y1), (x2, y2) = start, end
    return LINE.format(x1=x1, y1=y1, x2=x2, y2=y2, width=width, opacity=opacity)


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, at equal distances."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(1, most - 2)
    power = 10 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]
