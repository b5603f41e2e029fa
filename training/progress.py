"""Where a fit stands, on stderr: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from adapters.console import clock, note
from training.fit.result import FitProgress, OnProgress

_LINE_EVERY_S: Final = 15.0


@contextmanager
def fit_progress() -> Iterator[OnProgress]:
    """Yield what shows each step."""
    began: tuple[FitProgress, float] | None = None

    def left_of(where: FitProgress) -> str:
        nonlocal began
        began = began or (where, time.monotonic())  # loading the model is over by now
        return time_left(where, began[0], time.monotonic() - began[1])

    if sys.stderr.isatty():
        with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
            yield lambda where: live.update(_table(where, left_of(where)))
        return
    last = time.monotonic()

    def line(where: FitProgress) -> None:
        nonlocal last
        left = left_of(where)
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            note(line_of(where, left))

    yield line


def time_left(where: FitProgress, first: FitProgress, seconds: float) -> str:
    """Return how long the steps to come take at this session's speed; empty at its first step."""
    done = where.step - first.step
    if not done:
        return ""
    return clock(seconds / done * (where.total_steps - where.step))


def line_of(where: FitProgress, left: str) -> str:
    """Return a line such as `fit: 12/96, loss 1.23, dev loss 1.31, 350 tok/s, 4:10 left`."""
    figures = [f"{name} {value}" for name, value in _figures(where)]
    parts = [f"fit: {where.step}/{where.total_steps}", *figures]
    if where.tok_s:  # not known in the first steps
        parts.append(f"{where.tok_s:.0f} tok/s")
    return ", ".join([*parts, f"{left} left"] if left else parts)


def _table(where: FitProgress, left: str) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    cells = {
        "step": f"{where.step}/{where.total_steps}",
        **dict(_figures(where)),
        "tok/s": f"{where.tok_s:.0f}",
        "left": left,
    }
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    return table


def _figures(where: FitProgress) -> list[tuple[str, str]]:
    known = (("loss", where.loss, ".3f"), ("dev loss", where.dev_loss, ".3f"))
    figures = (*known, ("dev chrF++", where.dev_chrf, ".1f"))
    return [(name, format(value, spec)) for name, value, spec in figures if value is not None]
