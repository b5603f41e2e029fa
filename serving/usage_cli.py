"""`dragoman usage`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adapters.console import note, print_json, print_table

if TYPE_CHECKING:
    from serving.door.ledger import Ledger, Usage

_EPILOG: Final = "Example: dragoman usage --config serving.yaml --since 2026-11-01 --by adapter"
_COLUMNS: Final = ("requests", "characters", "prompt tokens", "completion tokens")
# What a row is called that has no name: a server without keys, a request for no adapter.
_NAMELESS: Final = "-"


class By(StrEnum):
    """What one row of the table is."""

    DAY = "day"
    KEY = "key"
    ADAPTER = "adapter"


def mount(app: typer.Typer) -> None:
    """Add `usage` to the command tree."""
    app.command(epilog=_EPILOG)(usage)


def usage(
    config: Annotated[
        Path | None, typer.Option(help="The server's serving.yaml, which says where usage is kept.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where usage is kept: a file, or a postgresql:// URL.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only this key, by its name.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First day; by default the first of this month."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day; by default today.")
    ] = None,
    by: Annotated[By, typer.Option(help="What one row is.")] = By.KEY,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: usage per day, key and adapter.")
    ] = False,
) -> None:
    """Show what each key used: requests, characters, tokens. Days are of UTC.

    A password is better in PGPASSWORD, or in the file that PGPASSFILE names, than in --url.
    """
    from serving.door.period import period_of
    from serving.settings import load_settings

    # As the server reads them; any base will do here.
    place = load_settings({"base": "-"}, config=config).usage if url is None else url
    now = datetime.now(UTC)
    first = f"{since:%Y-%m-%d}" if since else f"{period_of('month', now)}-01"
    last = f"{until:%Y-%m-%d}" if until else period_of("day", now)
    if first > last:
        raise typer.BadParameter(f"--since {first} is after --until {last}")
    ledger = _open(place)
    try:
        rows = ledger.report(first, last, key)
    finally:
        ledger.close()
    if as_json:
        usage_of_days = [asdict(row) for row in rows]
        print_json({"since": first, "until": last, "place": ledger.place, "usage": usage_of_days})
        return
    title = f"{first} to {last}, {ledger.place}"
    print_table([by, *_COLUMNS], _table(rows, by), title=title)
    if not rows:
        note("nothing was used in these days")


def _open(place: str) -> Ledger:
    """Return the ledger. Raises UsageUnavailable for a file that no server has made."""
    from adapters.errors import UsageUnavailable
    from adapters.locations import cache_root
    from serving.door.ledger import open_ledger
    from serving.door.ledgers.sqlite import SqliteLedger

    ledger = open_ledger(place, cache_root())
    if isinstance(ledger, SqliteLedger) and not ledger.path.is_file():
        raise UsageUnavailable(
            f"{ledger.path}: there is no such file; give the server's --config, or the file that "
            "its setting `usage` names with --url"
        )
    return ledger


def _table(rows: Iterable[Usage], by: By) -> list[Sequence[str]]:
    """Return sums for each value of `by`, and the sum of all if there are several."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        name = getattr(row, by) or _NAMELESS
        had = sums.setdefault(name, [0] * len(_COLUMNS))
        sums[name] = [a + b for a, b in zip(had, astuple(row)[3:], strict=True)]
    table = sorted(sums.items())
    if len(table) > 1:
        table.append(("all", [sum(column) for column in zip(*sums.values(), strict=True)]))
    return [(name, *(f"{value:,}" for value in values)) for name, values in table]
