"""Loss curves of several trainings in one chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from training.evaluate.page import svg

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _BOTTOM = 58, 12, 44
_LEGEND_ROW, _SWATCH, _CHAR = 22, 26, 8.2
_LONGEST_LABEL: Final = 40
# Told apart on white and on black, and most of them by people who see no red.
COLOURS: Final = (
    "#3b6fd4", "#d4803b", "#3a9a5b", "#b9509f", "#c0443b", "#1f97a8", "#8f7d22", "#7d6bd6",
)  # fmt: skip
_CURVE: Final = Markup(
    '<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dashes} '
    'points="{points}"><title>{title}</title></polyline>'
)
_DASHES: Final = Markup(' stroke-dasharray="6 4"')
_KEY: Final = Markup(
    '<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="{colour}" '
    'stroke-width="3"/>'
)
_ON_SIDE: Final = Markup(
    '<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" '
    'transform="rotate(-90 {x:.1f} {y:.1f})">{text}</text>'
)
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class _Run:
    name: str
    colour: str
    train: Points
    dev: Points


@dataclass(frozen=True)
class _Axes:
    """The round numbers at both axes, and where a point lies between them."""

    steps: list[float]
    losses: list[float]
    top: float

    def at(self, step: float, loss: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM
        right = (step - self.steps[0]) / (self.steps[-1] - self.steps[0])
        up = (loss - self.losses[0]) / (self.losses[-1] - self.losses[0])
        return _LEFT + width * right, self.top + height * (1 - up)


def loss_curves(losses: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Markup | None:
    """Return a line of train and a dashed one of dev for each run, or None without any point.

    `losses` maps names to `train` and `dev` as lists of (step, loss).
    """
    runs = [
        _Run(name, COLOURS[n % len(COLOURS)], _points(each["train"]), _points(each["dev"]))
        for n, (name, each) in enumerate(losses.items())
    ]
    points = [point for run in runs for point in (*run.train, *run.dev)]
    if not points:
        return None
    legend, rows = _legend(runs)
    top = _LEGEND_ROW * rows + 14
    axes = _Axes(
        svg.ticks(0, max(step for step, _ in points)),
        svg.ticks(min(loss for _, loss in points), max(loss for _, loss in points)),
        top,
    )
    marks = [*legend, *_frame(axes), *(curve for run in runs for curve in _curves(run, axes))]
    label = "loss over steps: " + ", ".join(run.name for run in runs)
    return svg.drawing(_WIDTH, top + _HEIGHT, label, marks, kind="curves")


def _points(series: Sequence[Sequence[Any]]) -> Points:
    # A run that went astray has losses that no chart can show.
    return [(float(s), float(v)) for s, v in series if v is not None and math.isfinite(v)]


def _legend(runs: Sequence[_Run]) -> tuple[list[Markup], int]:
    """Return the names with their colours, and how many rows of them there are."""
    marks: list[Markup] = []
    x, row = float(_LEFT), 0
    for run in runs:
        name = _short(run.name)
        wide = _SWATCH + _CHAR * len(name) + 14
        if x + wide > _WIDTH and x > _LEFT:
            x, row = float(_LEFT), row + 1
        y = _LEGEND_ROW * row + 12
        marks.append(_KEY.format(x=x, end=x + 18, y=y, colour=run.colour))
        marks.append(svg.text(x + _SWATCH, y + 5, name))
        x += wide
    return marks, row + 1


def _frame(axes: _Axes) -> Iterator[Markup]:
    """Yield both axes with numbers, units, and lines across."""
    bottom, left = axes.losses[0], axes.steps[0]
    for loss in axes.losses:
        x, y = axes.at(left, loss)
        yield svg.line((x, y), (_WIDTH - _RIGHT, y), opacity=0.6 if loss == bottom else 0.15)
        yield svg.text(x - 8, y + 5, f"{loss:.4g}", anchor="end")
    for step in axes.steps:
        x, y = axes.at(step, bottom)
        yield svg.line((x, y), (x, y + 5), opacity=0.6)
        yield svg.text(x, y + 20, f"{step:,.0f}" if step == round(step) else "", anchor="middle")
    x, y = axes.at((axes.steps[0] + axes.steps[-1]) / 2, bottom)
    yield svg.text(x, y + 38, "optimizer steps", anchor="middle")
    _, middle = axes.at(left, (axes.losses[0] + axes.losses[-1]) / 2)
    yield _ON_SIDE.format(x=14, y=middle, text="loss, nats per target token")


def _curves(run: _Run, axes: _Axes) -> Iterator[Markup]:
    for series, dashes, part in ((run.train, Markup(""), "train"), (run.dev, _DASHES, "dev")):
        if not series:
            continue
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*point) for point in series))
        last = f"{run.name}, {part}: {series[-1][1]:.3f} at step {series[-1][0]:,.0f}"
        yield _CURVE.format(colour=run.colour, dashes=dashes, points=points, title=last)
        if part == "dev" or len(series) == 1:
            yield from (_dot(axes.at(*point), run.colour) for point in series)


def _dot(at: tuple[float, float], colour: str) -> Markup:
    mark = Markup('<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
    return mark.format(x=at[0], y=at[1], colour=colour)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"{name[:_LONGEST_LABEL]}…"
