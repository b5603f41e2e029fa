"""A ledger in SQL that SQLite and PostgreSQL understand alike; `?` marks a parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from typing import Any, Final, Protocol

from adapters.errors import StartRefused
from serving.door.key import Quota
from serving.door.ledger import Usage, Use

VERSION: Final = 1
# Prefixed, since a database may have tables of others.
VERSION_TABLE: Final = "dragoman_ledger"
_SCHEMA: Final = (
    f"CREATE TABLE {VERSION_TABLE} (version BIGINT NOT NULL)",
    "CREATE TABLE dragoman_quota (key TEXT, period TEXT, characters BIGINT NOT NULL, "
    "tokens BIGINT NOT NULL, PRIMARY KEY (key, period))",
    "CREATE TABLE dragoman_usage (day TEXT, key TEXT, adapter TEXT, requests BIGINT NOT NULL, "
    "characters BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, "
    "PRIMARY KEY (day, key, adapter))",
    f"INSERT INTO {VERSION_TABLE} (version) VALUES ({VERSION})",  # noqa: S608
)
# One statement, so that both databases hold the row's lock from the comparison to the addition.
# What adds nothing is never refused, also not after a quota was lowered.
_CHARGE: Final = """
INSERT INTO dragoman_quota AS had (key, period, characters, tokens) VALUES (?, ?, ?, ?)
ON CONFLICT (key, period) DO UPDATE
SET characters = had.characters + excluded.characters, tokens = had.tokens + excluded.tokens
WHERE (excluded.characters = 0 OR had.characters + excluded.characters <= ?)
AND (excluded.tokens = 0 OR had.tokens + excluded.tokens <= ?)
RETURNING 1
"""
_CORRECT: Final = """
INSERT INTO dragoman_quota AS had (key, period, characters, tokens) VALUES (?, ?, ?, ?)
ON CONFLICT (key, period) DO UPDATE
SET characters = CASE WHEN had.characters + ? > 0 THEN had.characters + ? ELSE 0 END,
tokens = CASE WHEN had.tokens + ? > 0 THEN had.tokens + ? ELSE 0 END
"""
_USED: Final = "SELECT characters, tokens FROM dragoman_quota WHERE key = ? AND period = ?"
_ADD: Final = """
INSERT INTO dragoman_usage AS had
(day, key, adapter, requests, characters, prompt_tokens, completion_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, key, adapter) DO UPDATE
SET requests = had.requests + excluded.requests,
characters = had.characters + excluded.characters,
prompt_tokens = had.prompt_tokens + excluded.prompt_tokens,
completion_tokens = had.completion_tokens + excluded.completion_tokens
"""
_REPORT: Final = """
SELECT day, key, adapter, requests, characters, prompt_tokens, completion_tokens
FROM dragoman_usage WHERE day >= ? AND day <= ?
"""
_OF_KEY: Final = "AND key = ? "
_IN_ORDER: Final = "ORDER BY day, key, adapter"
# The largest of both databases' integers.
_NO_BOUND: Final = 2**63 - 1


class Cursor(Protocol):
    """What both drivers offer (PEP 249)."""

    def execute(self, sql: Any, parameters: Any = ..., /) -> Any: ...

    def executemany(self, sql: Any, parameters: Any, /) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class SqlLedger(ABC):
    """Everything but the connection."""

    mark = "?"

    def __init__(self, place: str) -> None:
        self.place = place

    def check(self) -> None:
        with self._session():
            pass

    def charge(self, key: str, period: str, use: Use, quota: Quota) -> bool:
        most = Use(quota.characters or _NO_BOUND, quota.tokens or _NO_BOUND)
        if use.characters > most.characters or use.tokens > most.tokens:
            return False
        values = (key, period, *astuple(use), *astuple(most))
        with self._session() as cursor:
            cursor.execute(self._marked(_CHARGE), values)
            return bool(cursor.fetchall())

    def correct(self, key: str, period: str, use: Use) -> None:
        anew = (max(0, use.characters), max(0, use.tokens))
        values = (key, period, *anew, use.characters, use.characters, use.tokens, use.tokens)
        with self._session(once=True) as cursor:
            cursor.execute(self._marked(_CORRECT), values)

    def used(self, key: str, period: str) -> Use:
        with self._session() as cursor:
            cursor.execute(self._marked(_USED), (key, period))
            rows = cursor.fetchall()
        return Use(*rows[0]) if rows else Use()

    def add(self, rows: Sequence[Usage]) -> None:
        # In order, so that two processes never wait for each other's rows.
        values = [astuple(row) for row in sorted(rows)]
        with self._session(transaction=True, once=True) as cursor:
            cursor.executemany(self._marked(_ADD), values)

    def report(self, since: str, until: str, key: str | None = None) -> list[Usage]:
        of_key = _OF_KEY if key is not None else ""
        values = (since, until) if key is None else (since, until, key)
        with self._session() as cursor:
            cursor.execute(self._marked(_REPORT + of_key + _IN_ORDER), values)
            return [Usage(*row) for row in cursor.fetchall()]

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _session(
        self, *, transaction: bool = False, once: bool = False
    ) -> AbstractContextManager[Cursor]:
        """Return a cursor that this thread has for itself; without `transaction` autocommitting.

        once: what may have been done counts as done, if the connection breaks at that moment.
        """

    @abstractmethod
    def _has_tables(self, cursor: Cursor) -> bool:
        """Return whether the version table is there."""

    def _is_ready(self, cursor: Cursor) -> bool:
        """Return whether the tables are there. Raises StartRefused for those of a newer release."""
        if not self._has_tables(cursor):
            return False
        cursor.execute(f"SELECT max(version) FROM {VERSION_TABLE}")  # noqa: S608
        found = cursor.fetchall()[0][0]
        if found != VERSION:
            raise StartRefused(
                f"{self.place}: usage is kept there in version {found} of its tables, and this "
                f"release of dragoman knows version {VERSION}; use the release that wrote it, or "
                "another place (`usage` in serving.yaml)"
            )
        return True

    def _make_tables(self, cursor: Cursor) -> None:
        """Make the tables, unless another process was faster; its caller holds a lock."""
        if not self._is_ready(cursor):
            for statement in _SCHEMA:
                cursor.execute(statement)

    def _marked(self, sql: str) -> str:
        return sql.replace("?", self.mark)
