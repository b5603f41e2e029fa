"""Where it is kept how much each key has used: one place for all processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from adapters.errors import SettingsInvalid
from serving.door.key import Quota

DEFAULT_FILE: Final = "usage.sqlite"
_SQLITE: Final = "sqlite://"
_POSTGRES: Final = ("postgresql://", "postgres://")


@dataclass(frozen=True)
class Use:
    """What counts against a quota; negative, what is given back."""

    characters: int = 0
    tokens: int = 0


@dataclass(frozen=True, order=True)
class Usage:
    """What one key had of one adapter on one day (ISO, of UTC)."""

    day: str
    key: str
    adapter: str
    requests: int = 0
    characters: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Ledger(Protocol):
    """The store of usage. Any thread may call; calls block until the store has answered.

    All but `close` raise UsageUnavailable if the store cannot be reached or refuses, and
    StartRefused if a newer release has changed it.
    """

    place: str  # where it is, fit to be shown: without a password

    def check(self) -> None:
        """Return if the store can be reached; makes its tables if there are none."""

    def charge(self, key: str, period: str, use: Use, quota: Quota) -> bool:
        """Add `use` to what `key` used in `period`, unless that would exceed `quota`.

        One atomic step, whoever else charges: False if it would exceed, and nothing is changed.
        After UsageUnavailable it may have been charged, never the other way round.
        """

    def correct(self, key: str, period: str, use: Use) -> None:
        """Add `use` whatever the quota; what is negative is taken off, to 0 at the lowest.

        UsageUnavailable means that nothing was changed: it may be asked again. If the connection
        breaks before the store has confirmed, that is in the log and the correction counts as made:
        what is given back twice would let a key use more than its quota.
        """

    def used(self, key: str, period: str) -> Use:
        """Return what `key` used in `period`."""

    def add(self, rows: Sequence[Usage]) -> None:
        """Add usage, all rows or none; UsageUnavailable means none, as for `correct`."""

    def report(self, since: str, until: str, key: str | None = None) -> list[Usage]:
        """Return usage of the days from `since` to `until`, both included, in order."""

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""


def open_ledger(url: str, default_folder: Path) -> Ledger:
    """Return the ledger at `url`: a path, sqlite:///path or postgresql://…; "" is the default.

    Nothing is touched before the first call. Raises SettingsInvalid.
    """
    if url.startswith(_POSTGRES):
        from serving.door.ledgers.postgres import PostgresLedger

        return PostgresLedger(url)
    from serving.door.ledgers.sqlite import SqliteLedger

    path = url.removeprefix(_SQLITE) or str(default_folder / DEFAULT_FILE)
    if "://" in path or (url.startswith(_SQLITE) and not path.startswith("/")):
        raise SettingsInvalid(
            f"usage: cannot keep it at a {url.partition('://')[0]}:// of that form; give a file, "
            "sqlite:///path/to/file or postgresql://user@host/database"
        )
    return SqliteLedger(Path(path).expanduser().absolute())
