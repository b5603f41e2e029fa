"""The ledger in a file, and how one is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import pytest

from adapters.errors import SettingsInvalid, UsageUnavailable
from serving.door.ledger import Ledger, Use, open_ledger
from serving.door.ledgers.sqlite import SqliteLedger
from serving.door.period import ends_at, ends_in_s, period_of
from tests.serving.door.ledger_contract import CHARACTERS, LedgerContract, OpenAgain


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "usage.sqlite"


@pytest.fixture
def again(file: Path) -> Iterator[OpenAgain]:
    opened: list[Ledger] = []

    def make() -> Ledger:
        opened.append(SqliteLedger(file))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def run_sql(file: Path) -> Callable[[str], None]:
    def run(sql: str) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(sql)

    return run


class TestSqliteLedger(LedgerContract):
    pass


def test_the_file_is_its_owners_alone(again: OpenAgain, file: Path) -> None:
    again().charge("acme", "2026-11", Use(7), CHARACTERS)
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("usage.sqlite", "usage.sqlite-shm", "usage.sqlite-wal"), 0o600
    )  # fmt: skip


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    ledger = SqliteLedger(tmp_path / "taken" / "usage.sqlite")
    with pytest.raises(UsageUnavailable, match=r"taken/usage\.sqlite: usage cannot be kept there"):
        ledger.check()


def test_a_file_of_something_else_is_told_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("price list\n" * 500)
    with pytest.raises(UsageUnavailable, match="file is not a database"):
        SqliteLedger(file).check()
    assert file.read_text().startswith("price list")


def test_a_failure_midway_leaves_nothing_behind(
    again: OpenAgain, run_sql: Callable[[str], None]
) -> None:
    ledger = again()
    ledger.charge("acme", "2026-11", Use(7), CHARACTERS)
    run_sql("ALTER TABLE dragoman_quota RENAME TO gone")
    with pytest.raises(UsageUnavailable, match="no such table"):
        ledger.charge("acme", "2026-11", Use(7), CHARACTERS)
    with pytest.raises(UsageUnavailable, match="no such table"):
        ledger.correct("acme", "2026-11", Use(-7))
    run_sql("ALTER TABLE gone RENAME TO dragoman_quota")
    assert ledger.used("acme", "2026-11") == Use(7)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("", "{folder}/usage.sqlite"),
        ("/data/u.db", "/data/u.db"),
        ("sqlite:///data/u.db", "/data/u.db"),
        ("sqlite://", "{folder}/usage.sqlite"),
        ("~/u.db", "{home}/u.db"),
        ("u.db", "{here}/u.db"),
    ],
)
def test_a_ledger_is_named_by_path_or_url(url: str, place: str, tmp_path: Path) -> None:
    named = place.format(folder=tmp_path, home=Path.home(), here=Path.cwd())
    assert open_ledger(url, tmp_path).place == named
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://relative.db", "https://h/x"])
def test_other_names_are_refused_without_their_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"usage: .* give a file, sqlite:///path") as caught:
        open_ledger(url, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("per", "at", "period", "end"),
    [
        ("day", "2026-11-22T23:59:59", "2026-11-22", "2026-11-23"),
        ("month", "2026-11-01T00:00:00", "2026-11", "2026-12-01"),
        ("month", "2026-12-31T12:00:00", "2026-12", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", "2028-02", "2028-03-01"),
        ("day", "2028-02-28T12:00:00", "2028-02-28", "2028-02-29"),
    ],
)
def test_periods_are_days_and_months_of_utc(
    per: Literal["day", "month"], at: str, period: str, end: str
) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert period_of(per, now) == period
    assert ends_at(per, now) == datetime.fromisoformat(end).replace(tzinfo=UTC)
    assert 0 < ends_in_s(per, now) <= 31 * 86_400


def test_a_clock_of_another_zone_is_read_as_utc() -> None:
    new_year = datetime(2027, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert period_of("day", new_year) == "2026-12-31"
    assert ends_in_s("month", new_year) == 3600
