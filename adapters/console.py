"""What commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_LOG_EVERY_S: Final = 15.0
_WIDE: Final = 10_000


def print_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Print a table to stdout; cells are plain text, never markup. Wraps on a terminal only."""
    table = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _printable(cell: str) -> str:
    # A licence or a prompt of somebody's adapter must not be able to drive the terminal.
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in cell)


def one_line(text: str, *, most: int = 90) -> str:
    """Return `text` for a cell of a table: in one line, cut after `most` characters."""
    shown = text.replace("\n", "⏎")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def note(message: str) -> None:
    """Print one line for a person to stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield `advance(steps)`: a bar on a terminal, a line every 15 s elsewhere; rate, time left."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda steps: bar.advance(task, steps)
        return
    done, began = 0, time.monotonic()
    last = began

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last >= _LOG_EVERY_S:
            last = now
            note(_line(description, done, total, done / (now - began)))

    yield advance


def clock(seconds: float) -> str:
    """Return a time span for people: 0:42, 12:05, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line(description: str, done: int, total: int | None, per_s: float) -> str:
    """Return a line such as `reading: 1200/9000, 80/s, 1:38 left`."""
    of_total = "" if total is None else f"/{total}"
    left = "" if total is None or not per_s else f", {clock((total - done) / per_s)} left"
    return f"{description}: {done}{of_total}, {_rate(per_s)}{left}"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s"


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed) if task.speed else "")
