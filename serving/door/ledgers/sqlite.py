"""The ledger in a file, for all server processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from adapters.errors import UsageUnavailable
from serving.door.ledgers.sql import VERSION_TABLE, Cursor, SqlLedger

_BUSY_S: Final = 5.0
_PRIVATE: Final = 0o600


class SqliteLedger(SqlLedger):
    """One connection in WAL mode. The file must not lie on a network's file system.

    What was charged survives the death of the process; a power cut may take the last charges, never
    the file (synchronous NORMAL, https://sqlite.org/pragma.html#pragma_synchronous).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            self._drop()

    @contextmanager
    def _session(self, *, transaction: bool = False, once: bool = False) -> Iterator[Cursor]:
        # A file is never unsure whether something was done, so `once` changes nothing.
        with self._lock:
            try:
                connection = self._connection = self._connection or self._connect()
                with closing(connection.cursor()) as cursor:
                    if transaction:
                        with _exclusive(cursor):
                            yield cursor
                    else:
                        yield cursor
            except (sqlite3.Error, OSError) as error:
                self._drop()
                raise UsageUnavailable(
                    f"{self.place}: usage cannot be kept there: {error}; see that the folder can "
                    "be written and the disk has room, or name another file (`usage`)"
                ) from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Made by us, because SQLite would make it readable to all; its -wal and -shm follow it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            with closing(connection.cursor()) as cursor:
                _write_ahead(cursor)
                cursor.execute("PRAGMA synchronous = NORMAL")
                if not self._is_ready(cursor):
                    with _exclusive(cursor):
                        self._make_tables(cursor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _has_tables(self, cursor: Cursor) -> bool:
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,))
        return bool(cursor.fetchall())

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@contextmanager
def _exclusive(cursor: sqlite3.Cursor) -> Iterator[None]:
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL; SQLite does not wait by itself when two processes do so at once."""
    give_up_at = time.monotonic() + _BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
