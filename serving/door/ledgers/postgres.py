"""The ledger in PostgreSQL, for servers on several machines."""

from __future__ import annotations

import logging
import re
import select
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from adapters.errors import SettingsInvalid, UsageUnavailable
from serving.door.ledgers.sql import VERSION_TABLE, Cursor, SqlLedger

if TYPE_CHECKING:
    import psycopg

_LOG: Final = logging.getLogger(__name__)
# A store that does not answer costs a request so much, and no longer.
_CONNECT_S: Final = 3
_STATEMENT_MS: Final = 5000
# For so long nobody tries after a connection failed: who waits behind would wait as long again.
_PAUSE_S: Final = 1.0
# What a URL may say otherwise (https://www.postgresql.org/docs/current/libpq-connect.html).
_DEFAULTS: Final[Mapping[str, Any]] = {
    "application_name": "dragoman",
    "connect_timeout": _CONNECT_S,
    "tcp_user_timeout": _STATEMENT_MS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
# Any number will do, as long as all of us take the same.
_SCHEMA_LOCK: Final = 0x64726167


class PostgresLedger(SqlLedger):
    """One connection, made anew when it breaks.

    The password stands in the URL, in PGPASSWORD, or in the file that PGPASSFILE names. A charge
    waits until the database has it on disk; `?options=-c%20synchronous_commit%3Doff` in the URL
    does not, in return for the last half second of charges if the database itself crashes.
    """

    mark = "%s"

    def __init__(self, url: str) -> None:
        """Raise SettingsInvalid if the URL cannot be read, or psycopg is not installed."""
        self._options = {**_DEFAULTS, **_parse(url)}
        super().__init__(
            f"postgresql://{self._options.get('host', '')}/{self._options.get('dbname', '')}"
        )
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._next_try_at = 0.0
        self._last_failure = ""

    def close(self) -> None:
        with self._lock:
            self._drop()

    @contextmanager
    def _session(self, *, transaction: bool = False, once: bool = False) -> Iterator[Cursor]:
        import psycopg

        with self._lock:
            connection = self._connected()
            # Alone, a statement is its own commit.
            is_committing = not transaction
            try:
                with ExitStack() as stack:
                    if transaction:
                        stack.enter_context(connection.transaction())
                    yield stack.enter_context(connection.cursor())
                    is_committing = True
            except psycopg.Error as error:
                self._drop()
                if once and is_committing and _is_unsure(error):
                    _LOG.warning(
                        "usage at %s: the connection broke before it was confirmed: %s; it counts "
                        "as written", self.place, _one_line(error),
                    )  # fmt: skip
                    return
                raise self._unavailable(_one_line(error)) from error

    def _connected(self) -> psycopg.Connection[Any]:
        import psycopg

        if self._connection is not None and _is_idle(self._connection):
            return self._connection
        self._drop()
        if time.monotonic() < self._next_try_at:
            raise self._unavailable(self._last_failure)
        try:
            self._connection = self._connect()
        except psycopg.Error as error:
            self._next_try_at = time.monotonic() + _PAUSE_S
            self._last_failure = _one_line(error)
            raise self._unavailable(self._last_failure) from error
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        # Poolers that share sessions know nothing of prepared statements, hence no threshold.
        connection = psycopg.connect(**self._options, autocommit=True, prepare_threshold=None)
        try:
            cursor = connection.cursor()
            cursor.execute(f"SET statement_timeout = {_STATEMENT_MS}".encode())
            # Looked at first: a role that may not make tables can use those that are there.
            if not self._is_ready(cursor):
                with connection.transaction():
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                    self._make_tables(cursor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _has_tables(self, cursor: Cursor) -> bool:
        # Not to_regclass(): after the wait for the lock it would say what it knew before.
        cursor.execute(
            "SELECT 1 FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid)",
            (VERSION_TABLE,),
        )
        return bool(cursor.fetchall())

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _unavailable(self, detail: str) -> UsageUnavailable:
        return UsageUnavailable(
            f"{self.place}: usage cannot be kept there: {detail}; see that the database runs and "
            "lets this user in and make tables (`usage` in serving.yaml)"
        )


def _parse(url: str) -> dict[str, Any]:
    """Return libpq's options; no part of what may be a password goes into the error."""
    try:
        import psycopg.conninfo
    except ImportError as error:
        raise SettingsInvalid(
            "usage: a postgresql:// URL needs psycopg, which is not installed: "
            "pip install 'dragoman[postgres]'"
        ) from error
    # What is behind such a character libpq would take for a host or a port, and tell in an error.
    if not re.fullmatch(r"[a-z]+://([^@/?#]*@)?[^@]*", url):
        raise SettingsInvalid(
            "usage: the postgresql:// URL has a user or password with one of @ / ? #; write them "
            "as %40 %2F %3F %23, or the password in PGPASSWORD or the file PGPASSFILE names"
        )
    try:
        options = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise SettingsInvalid(
            "usage: the postgresql:// URL cannot be read; expected "
            "postgresql://user:password@host:5432/database?sslmode=require, with anything "
            "unusual percent-encoded"
        ) from None
    return dict(options)


def _is_idle(connection: psycopg.Connection[Any]) -> bool:
    """Return whether it still stands. Between statements a server says only that it ends."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _is_unsure(error: psycopg.Error) -> bool:
    """Return whether a commit may have been done: no answer came, or one that the server ends."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
