"""The chart of a fit as SVG: losses over steps, and chrF++ on dev where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Series = Sequence[tuple[int, float]]

_WIDTH, _HEIGHT, _MARGIN = 900, 180, 40
_TRAIN: Final = 'stroke="#3b6fd4"'
_DEV: Final = 'stroke="#d4803b" stroke-dasharray="6 4"'
_CHRF: Final = 'stroke="#3a9a5b" stroke-dasharray="2 3"'


def loss_chart(losses: Series, dev_losses: Series, dev_chrf: Series = ()) -> str | None:
    """Return an SVG, or None for too few steps: train as a line, dev dashed, chrF++ dotted.

    Losses share the axis from 0; chrF++ has its own, from 0 to its highest.
    """
    points = [*losses, *dev_losses]
    if len(losses) < 2:
        return None
    last = max(step for step, _ in [*points, *dev_chrf])
    top = max(loss for _, loss in points)
    lines = [_line(losses, last, top, _TRAIN), _line(dev_losses, last, top, _DEV)]
    legend = "train (line), dev (dashed)"
    if dev_chrf:
        best = max(score for _, score in dev_chrf)
        lines.append(_line(dev_chrf, last, max(best, 1e-9), _CHRF))
        legend += f", chrF++ on dev (dotted, highest {best:.1f})"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 20}" '
        'role="img" aria-label="loss over steps">'
        f'<line x1="{_MARGIN}" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="currentColor"/>'
        + "".join(lines)
        + f'<text x="0" y="12">{top:.2f}</text><text x="0" y="{_HEIGHT}">0</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 16}" text-anchor="end">step {last}</text>'
        f'<text x="{_WIDTH}" y="12" text-anchor="end">{legend}</text></svg>'
    )


def _line(series: Series, last: int, top: float, look: str) -> str:
    points = " ".join(
        f"{_MARGIN + (_WIDTH - _MARGIN) * step / last:.1f},{_HEIGHT * (1 - value / top):.1f}"
        for step, value in series
    )
    return f'<polyline fill="none" {look} stroke-width="2" points="{points}"/>'
