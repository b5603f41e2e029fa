"""What commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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


def note(message: str) -> None:
    """Print one line for a person to stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield `advance(steps)`: a bar on a terminal, a line every 15 s elsewhere."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda steps: bar.advance(task, steps)
        return
    done, last = 0, time.monotonic()

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last >= _LOG_EVERY_S:
            last = time.monotonic()
            note(f"{description}: {done}" + (f"/{total}" if total is not None else ""))

    yield advance
