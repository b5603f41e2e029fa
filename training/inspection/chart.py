"""Bar charts as SVG that stands in the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from markupsafe import Markup

_WIDTH, _HEIGHT = 900, 200
_TOP, _BOTTOM, _LEFT = 22, 30, 52
_COLOURS: Final = ("#3b6fd4", "#d4803b")
_LABEL_PX: Final = 44
_SVG: Final = Markup(
    '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{inside}</svg>'
)
_BAR: Final = Markup(
    '<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">'
    "<title>{title}</title></rect>"
)
_TEXT: Final = Markup('<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>')
_LINE: Final = Markup(
    '<line x1="{x1}" x2="{x2}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
    'stroke-opacity="{opacity}"/>'
)


def bar_chart(edges: Sequence[float], series: Mapping[str, Sequence[int]], unit: str) -> Markup:
    """Return bars of each series beside each other, a group between two `edges`.

    `edges` are one more than the counts of each series; `unit` says what is counted.
    """
    top = max((count for counts in series.values() for count in counts), default=0) or 1
    marks = (*_axis(top), *_bars(edges, series, top), *_labels(edges), *_legend(series, unit))
    return _SVG.format(
        width=_WIDTH, height=_HEIGHT + _TOP + _BOTTOM, label=unit, inside=Markup("").join(marks)
    )


def _axis(top: int) -> Iterator[Markup]:
    for share in (0.0, 0.5, 1.0):
        y = _TOP + _HEIGHT * (1 - share)
        yield _LINE.format(x1=_LEFT, x2=_WIDTH, y=y, opacity=0.6 if share == 0 else 0.15)
        yield _TEXT.format(x=_LEFT - 8, y=y + 4, anchor="end", text=f"{round(top * share):,}")


def _bars(
    edges: Sequence[float], series: Mapping[str, Sequence[int]], top: int
) -> Iterator[Markup]:
    group = _group(edges)
    each = group * 0.84 / len(series)
    for place, (name, counts) in enumerate(series.items()):
        for number, count in enumerate(counts):
            height = _HEIGHT * count / top
            yield _BAR.format(
                x=_LEFT + number * group + 0.08 * group + place * each,
                y=_TOP + _HEIGHT - height,
                width=each,
                height=height,
                fill=_COLOURS[place],
                title=f"{name}, {edges[number]:g} to {edges[number + 1]:g}: {count:,}",
            )


def _labels(edges: Sequence[float]) -> Iterator[Markup]:
    """Yield the edges under the axis, as many as there is room for."""
    group = _group(edges)
    step = max(1, -(-_LABEL_PX // int(group)))
    for number in range(0, len(edges), step):
        x = _LEFT + number * group
        anchor = "end" if x > _WIDTH - _LABEL_PX / 2 else "middle"
        text = f"{edges[number]:,.3g}" if edges[number] < 1000 else f"{edges[number]:,.0f}"
        yield _TEXT.format(x=x, y=_TOP + _HEIGHT + 18, anchor=anchor, text=text)


def _legend(series: Mapping[str, Sequence[int]], unit: str) -> Iterator[Markup]:
    x = _WIDTH
    for place, name in reversed(list(enumerate(series))):
        yield _TEXT.format(x=x, y=12, anchor="end", text=name)
        x -= 8 * len(name) + 18
        yield _BAR.format(x=x, y=3, width=10, height=10, fill=_COLOURS[place], title=name)
        x -= 14
    yield _TEXT.format(x=_LEFT, y=12, anchor="start", text=unit)


def _group(edges: Sequence[float]) -> float:
    return (_WIDTH - _LEFT) / max(1, len(edges) - 1)
