"""Bars of a metric for each system, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from training.evaluate.page import svg

# Narrow, so that letters are readable where a phone scales the picture to its width.
_WIDTH: Final = 480
_ROW, _BAR, _TOP = 50, 18, 4
_FOR_VALUE: Final = 68
_LONGEST_LABEL: Final = 44
_BLUE, _GREY = "#3b6fd4", "#8b8f98"
# Its JSON has values and signatures only.
LESS_IS_BETTER: Final = frozenset({"TER"})


@dataclass(frozen=True)
class Bar:
    """A system's score; `ci95` None where it has no interval."""

    label: str
    value: float
    ci95: tuple[float, float] | None = None
    is_baseline: bool = False


def metric_charts(board: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Return (title, chart) of each metric of a Scoreboard's JSON."""
    systems = board["systems"]
    metrics = list(systems[0]["scores"]) if systems else []
    return [
        (title_of(metric), bar_chart(title_of(metric), _bars(board, metric))) for metric in metrics
    ]


def title_of(metric: str) -> str:
    """Return the metric's name, and which way is good where that is not up."""
    return f"{metric}, less is better" if metric in LESS_IS_BETTER else metric


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """Return a bar for each system from 0, its value beside it; the baseline is grey."""
    top = max((max(bar.value, *(bar.ci95 or (0.0,))) for bar in bars), default=0.0)
    scale = (_WIDTH - _FOR_VALUE) / (top or 1.0)
    marks = [mark for place, bar in enumerate(bars) for mark in _row(bar, place, scale)]
    axis = svg.line((0.5, 0), (0.5, _TOP + _ROW * len(bars)), opacity=0.5)
    height = _TOP + _ROW * len(bars)
    return svg.drawing(_WIDTH, height, title, [*marks, axis], kind="bars")


def _bars(board: Mapping[str, Any], metric: str) -> list[Bar]:
    found = []
    for row in board["systems"]:
        score = row["scores"][metric]
        bounds = score.get("ci95")
        ci95 = (float(bounds[0]), float(bounds[1])) if bounds else None
        is_baseline = row["system"] == board["baseline"]
        found.append(Bar(row["system"], float(score["value"]), ci95, is_baseline))
    return found


def _row(bar: Bar, place: int, scale: float) -> Iterator[Markup]:
    top = _TOP + _ROW * place
    middle = top + 22 + _BAR / 2
    label = bar.label if len(bar.label) <= _LONGEST_LABEL else f"{bar.label[:_LONGEST_LABEL]}…"
    yield svg.text(3, top + 16, f"{label} (baseline)" if bar.is_baseline else label)
    yield svg.RECT.format(
        x=0, y=top + 22, width=max(1.0, bar.value * scale), height=_BAR,
        fill=_GREY if bar.is_baseline else _BLUE, title=_told(bar),
    )  # fmt: skip
    end = bar.value
    if bar.ci95 is not None:
        low, high = bar.ci95
        end = max(end, high)
        yield svg.line((low * scale, middle), (high * scale, middle), width=1.5)
        for bound in (low, high):
            yield svg.line((bound * scale, middle - 5), (bound * scale, middle + 5), width=1.5)
    yield svg.text(end * scale + 6, middle + 5, f"{bar.value:.1f}", kind="value")


def _told(bar: Bar) -> str:
    if bar.ci95 is None:
        return f"{bar.label}: {bar.value:.2f}"
    return f"{bar.label}: {bar.value:.2f} ({bar.ci95[0]:.2f} to {bar.ci95[1]:.2f})"
