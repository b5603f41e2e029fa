"""The ledger in a real PostgreSQL: the contract, several processes, outages, passwords."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import SettingsInvalid, UsageUnavailable
from serving.door.key import Key, Quota, hash_of
from serving.door.ledger import Ledger, Usage, Use, open_ledger
from serving.door.ledgers import postgres as module
from serving.door.ledgers.postgres import PostgresLedger
from serving.door.meter import Meter
from tests.integration.postgres import PASSWORD, Postgres
from tests.serving.door.charging import EACH, KEY, PERIOD, charging
from tests.serving.door.ledger_contract import CHARACTERS, LedgerContract, OpenAgain

pytestmark = pytest.mark.slow

TABLES = ("dragoman_ledger", "dragoman_quota", "dragoman_usage")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # pytest's own folders are closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        made = Postgres(folder)
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def run_sql(server: Postgres) -> Callable[[str], None]:
    def run(sql: str) -> None:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(sql.encode())

    return run


@pytest.fixture(autouse=True)
def _no_tables(run_sql: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.2)
    run_sql(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")


@pytest.fixture
def again(server: Postgres) -> Iterator[OpenAgain]:
    opened: list[Ledger] = []

    def make() -> Ledger:
        opened.append(PostgresLedger(server.url))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


class TestPostgresLedger(LedgerContract):
    pass


def test_a_quota_is_exact_over_processes(server: Postgres, again: OpenAgain) -> None:
    with charging(server.url, processes=4, charges=50) as processes:
        admitted = [process.admitted() for process in processes]
    assert sum(admitted) == 1000 // 7 == 142
    assert again().used(KEY, PERIOD) == Use(142 * 7)


def test_what_a_killed_process_had_admitted_stays_charged(
    server: Postgres, again: OpenAgain
) -> None:
    with charging(server.url, processes=3) as processes:
        time.sleep(0.3)
        for process in processes:
            process.kill()
        admitted = sum(process.admitted() for process in processes)
    ledger = again()
    charged = ledger.used(KEY, PERIOD).characters // EACH.characters
    assert admitted > 50
    assert admitted <= charged <= admitted + 3


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_ledger_goes_on_after_the_database_was_restarted(
    server: Postgres, again: OpenAgain, mode: str
) -> None:
    ledger = again()
    ledger.charge("a", "p", Use(7), CHARACTERS)
    server.stop(mode)
    server.start()
    assert ledger.charge("a", "p", Use(7), CHARACTERS)
    assert ledger.used("a", "p") == Use(14)


def test_while_the_database_is_down_calls_fail_at_once_and_say_no_password(
    server: Postgres, again: OpenAgain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = again()
    ledger.charge("a", "p", Use(7), CHARACTERS)
    server.stop()
    connect = Mock(wraps=psycopg.connect)
    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setattr(module, "_PAUSE_S", 60)
    try:
        for _ in range(20):
            with pytest.raises(UsageUnavailable, match=r"postgresql://127\.0\.0\.1/") as caught:
                ledger.correct("a", "p", Use(-7))
            assert PASSWORD not in repr(caught.value)
        # Who waits behind the first does not wait for a connection of its own to fail.
        assert connect.call_count == 1
    finally:
        server.start()
    assert again().used("a", "p") == Use(7)


def test_a_meter_keeps_what_a_database_that_is_down_cannot_take(
    server: Postgres, again: OpenAgain
) -> None:
    limited = Key(name="acme", hash=hash_of("s"), quota=Quota(tokens=100, per="month"))

    async def work() -> None:
        meter = Meter(again(), flush_every_s=0.05)
        await meter.open()
        hold = await meter.take(limited, 1)
        await hold.take_tokens(100)
        await asyncio.to_thread(server.stop)
        try:
            await hold.settle(10, 20, "en-fr")
            with pytest.raises(UsageUnavailable):
                await (await meter.take(limited, 1)).take_tokens(1)
            await (await meter.take(None, 1)).settle(1, 1, "en-fr")
            await asyncio.sleep(0.3)
        finally:
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
        assert await meter.used(limited) == Use(tokens=30)
        await meter.aclose()

    asyncio.run(work())
    rows = again().report("2000", "3000")
    assert [(row.key, row.requests) for row in rows] == [("", 1), ("acme", 1)]


def test_a_row_that_somebody_locks_stops_a_charge_for_a_bounded_time(
    server: Postgres, again: OpenAgain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STATEMENT_MS", 200)
    ledger = again()
    ledger.charge("a", "p", Use(7), CHARACTERS)
    with psycopg.connect(server.url) as other:
        other.execute("SELECT * FROM dragoman_quota FOR UPDATE")
        with pytest.raises(UsageUnavailable, match="statement timeout"):
            ledger.charge("a", "p", Use(7), CHARACTERS)
    assert ledger.charge("a", "p", Use(7), CHARACTERS)
    assert ledger.used("a", "p") == Use(14)


@pytest.fixture
def cut(server: Postgres) -> Iterator[Cut]:
    with Cut(server.port) as made:
        yield made


@pytest.fixture
def distant(server: Postgres, cut: Cut) -> Iterator[Ledger]:
    """A ledger behind `cut`, whose key `a` has used 700 characters."""
    ledger = PostgresLedger(server.url.replace(f":{server.port}/", f":{cut.port}/"))
    ledger.charge("a", "p", Use(700), CHARACTERS)
    yield ledger
    ledger.close()


def test_what_is_done_but_not_confirmed_is_not_done_twice(
    distant: Ledger, cut: Cut, caplog: pytest.LogCaptureFixture
) -> None:
    cut.behind = b"dragoman_quota"
    with caplog.at_level(logging.WARNING):
        distant.correct("a", "p", Use(-300))
    cut.behind = b"COMMIT"
    with caplog.at_level(logging.WARNING):
        distant.add([Usage("2026-11-22", "a", "en-fr", 1)])
    cut.behind = b""
    assert caplog.text.count("broke before it was confirmed") == 2
    assert distant.used("a", "p") == Use(400)
    assert len(distant.report("2026", "2027")) == 1


def test_a_charge_that_is_not_confirmed_is_refused_and_counts(distant: Ledger, cut: Cut) -> None:
    cut.behind = b"dragoman_quota"
    with pytest.raises(UsageUnavailable):
        distant.charge("a", "p", Use(100), CHARACTERS)
    cut.behind = b""
    assert distant.used("a", "p") == Use(800)


def test_usage_cut_off_before_its_commit_may_be_added_again(distant: Ledger, cut: Cut) -> None:
    rows = [Usage("2026-11-22", "a", "en-fr", 1), Usage("2026-11-22", "b", "en-fr", 1)]
    cut.before = b"dragoman_usage"
    with pytest.raises(UsageUnavailable):
        distant.add(rows)
    cut.before = b""
    assert distant.report("2026", "2027") == []
    distant.add(rows)
    assert distant.report("2026", "2027") == rows


def test_the_password_may_stand_in_a_variable_or_a_file(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageUnavailable, match="no password supplied"):
        PostgresLedger(server.url_without_password).check()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    _check(server.url_without_password)
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:*:*:*:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    _check(server.url_without_password)


def test_a_role_that_may_not_make_tables_uses_those_that_are_there(
    server: Postgres, again: OpenAgain, run_sql: Callable[[str], None]
) -> None:
    run_sql(f"CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'")
    url = server.url.replace("postgres:s", "clerk:s")
    with pytest.raises(UsageUnavailable, match="permission denied for schema public"):
        PostgresLedger(url).check()
    again().check()
    run_sql(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(TABLES)} TO clerk")
    clerk = PostgresLedger(url)
    assert clerk.charge("a", "p", Use(7), CHARACTERS)
    clerk.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top@secret@h/d",
        "postgresql://u:top/secret@h/d",
        "postgresql://u:top#secret@h/d",
        "postgresql://u:top%zzsecret@h/d",
        "postgresql://h/d?password=secret&nonsense=1",
        "postgres://u:secret@[::1/d",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsInvalid, match="usage: the postgresql:// URL") as caught:
        open_ledger(url, tmp_path)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "secret" not in str(shown)
        shown = shown.__cause__


def test_without_psycopg_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg.conninfo", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'dragoman\[postgres\]'"):
        open_ledger("postgresql://h/d", tmp_path)


def test_the_command_shows_what_is_in_the_database(server: Postgres, again: OpenAgain) -> None:
    again().add([Usage("2026-11-22", "acme", "shop-en-fr", 1, 12345, 3, 4)])
    arguments = ["usage", "--url", server.url, "--since", "2026-11-22", "--until", "2026-11-22"]
    result = CliRunner().invoke(dragoman.build_app(), arguments)
    assert result.exit_code == 0, result.exception
    assert "12,345" in result.output
    assert PASSWORD not in result.output


def _check(url: str) -> None:
    ledger = PostgresLedger(url)
    ledger.check()
    ledger.close()


class Cut:
    """A way to the server that breaks off where it is told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        # It breaks off before it has sent on what contains these bytes, or before it has sent back
        # what the server answers to them.
        self.before = b""
        self.behind = b""
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listening]

    def __enter__(self) -> Cut:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _end(*self._sockets)
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += (client, server)
            is_enough = threading.Event()
            self._start(self._forward, client, server, is_enough)
            self._start(self._back, server, client, is_enough)

    def _forward(self, client: Any, server: Any, is_enough: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.before and self.before in data:
                    break
                if self.behind and self.behind in data:
                    is_enough.set()
                server.sendall(data)
        _end(client, server)

    def _back(self, server: Any, client: Any, is_enough: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                # The server has answered, hence it is done; nobody hears of it.
                if is_enough.is_set():
                    break
                client.sendall(data)
        _end(client, server)

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)


def _end(*connections: Any) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
