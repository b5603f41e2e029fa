"""Pods over time beside what the load called for, a small graph a trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from loadtests.autoscaling.outcome import Outcome

_COLUMNS: Final = 2
_EVERY_S: Final = 15


def draw(outcomes: Mapping[str, Outcome], to: Path) -> None:
    """Write one SVG; the same outcomes give the same file."""
    rows = -(-len(outcomes) // _COLUMNS)
    with plt.rc_context({"svg.hashsalt": "dragoman", "font.size": 9}):
        figure, axes = plt.subplots(
            rows, _COLUMNS, figsize=(10, 2.3 * rows), squeeze=False, layout="constrained"
        )
        for axis, (name, outcome) in zip(axes.flat, outcomes.items(), strict=False):
            minutes = [t / 60 for t in range(0, len(outcome.wanted), _EVERY_S)]
            full = outcome.requests_per_s * outcome.target
            called_for = [n / full for n in outcome.per_s()[::_EVERY_S]]
            axis.plot(minutes, called_for, color="0.75", label="called for")
            for pods, colour in (("wanted", "tab:orange"), ("ready", "tab:blue")):
                line = getattr(outcome, pods)[::_EVERY_S]
                axis.step(minutes, line, where="post", color=colour, label=pods)
            axis.set_title(name, loc="left")
            axis.set_ylim(0, 9)
            axis.set_xlim(0, minutes[-1])
            axis.spines[["top", "right"]].set_visible(False)
        for axis in list(axes.flat)[len(outcomes) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel("pods")
        for axis in axes[-1]:
            axis.set_xlabel("minutes")
        axes[0, 0].legend(frameon=False, ncols=3, loc="upper left")
        to.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(to, metadata={"Date": None})
        plt.close(figure)
