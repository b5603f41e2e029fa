"""Quotas before the work, usage after it, with a ledger that may be slow or down."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import QuotaExceeded, StartRefused, UsageUnavailable
from serving.door import unwritten
from serving.door.key import Key, Quota, hash_of
from serving.door.ledger import Ledger, Usage, Use
from serving.door.ledgers.sqlite import SqliteLedger
from serving.door.meter import Meter

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MONTH = "2026-11"


class Watched:
    """A ledger whose calls are counted, and that can be taken away."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.place = "postgresql://inner-host/usage"
        self.calls: list[str] = []
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def check(self) -> None:
        self._note("check")

    def charge(self, key: str, period: str, use: Use, quota: Quota) -> bool:
        self._note("charge")
        return self.ledger.charge(key, period, use, quota)

    def correct(self, key: str, period: str, use: Use) -> None:
        self._note("correct")
        self.ledger.correct(key, period, use)

    def used(self, key: str, period: str) -> Use:
        self._note("used")
        return self.ledger.used(key, period)

    def add(self, rows: Sequence[Usage]) -> None:
        self._note("add")
        self.ledger.add(rows)

    def report(self, since: str, until: str, key: str | None = None) -> list[Usage]:
        self._note("report")
        return self.ledger.report(since, until, key)

    def close(self) -> None:
        self.calls.append("close")
        self.ledger.close()

    def go(self) -> None:
        self.fault = UsageUnavailable(f"{self.place}: connection refused")

    def _note(self, call: str) -> None:
        assert self.gate.wait(5)
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(SqliteLedger(tmp_path / "u.sqlite"))
    yield watched
    watched.ledger.close()


def key(**quota: Any) -> Key:
    return Key(name="acme", hash=hash_of("s"), quota=Quota(**quota))


def run(
    ledger: Watched, work: Callable[[Meter], Awaitable[None]], *, clock: Clock | None = None
) -> None:
    """Do `work` with an open meter, and close it; nothing is flushed by itself meanwhile."""

    async def do() -> None:
        meter = Meter(ledger, now=clock or Clock(), flush_every_s=60)
        await meter.open()
        await work(meter)
        await meter.aclose()

    asyncio.run(do())


def test_a_quota_of_characters_admits_exactly_what_fits_of_many_at_once(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        limited = key(characters=1000)
        done = await asyncio.gather(
            *(meter.take(limited, 7) for _ in range(200)), return_exceptions=True
        )
        refused = [error for error in done if isinstance(error, QuotaExceeded)]
        assert (len(done) - len(refused), len(refused)) == (142, 58)
        assert await meter.used(limited) == Use(142 * 7)

    run(ledger, work)


def test_a_refusal_says_what_is_used_of_what_and_when_it_begins_anew(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        await meter.take(key(characters=2000), 1500)
        with pytest.raises(QuotaExceeded) as caught:
            await meter.take(key(characters=2000), 501)
        assert caught.value.retry_after_s == 12 * 3600
        for part in (
            "the key acme may use 2,000 characters a month and has used 1,500",
            "this request takes up to 501",
            "anew on 2026-12-01 at 00:00 UTC",
        ):
            assert part in str(caught.value)

    run(ledger, work)


def test_tokens_are_held_at_their_upper_bound_and_settled_at_what_was_used(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        limited = key(tokens=100, per="day")
        hold = await meter.take(limited, 10)
        await hold.take_tokens(40)
        await hold.take_tokens(50)
        other = await meter.take(limited, 10)
        with pytest.raises(QuotaExceeded, match=r"tokens a day and has used 90; .* up to 11"):
            await other.take_tokens(11)
        await other.cancel()
        await hold.settle(20, 5, "en-fr")
        assert await meter.used(limited) == Use(tokens=25)
        # Once over, it is over.
        await hold.settle(20, 5, "en-fr")
        await hold.cancel()
        assert await meter.used(limited) == Use(tokens=25)

    run(ledger, work)
    assert ledger.ledger.report("2026-11-30", "2026-11-30") == [
        Usage("2026-11-30", "acme", "en-fr", 1, 10, 20, 5)
    ]


def test_tokens_beyond_the_upper_bound_count_as_well(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        hold = await meter.take(key(tokens=100), 1)
        await hold.take_tokens(90)
        await hold.settle(100, 5, "en-fr")
        assert await meter.used(key(tokens=100)) == Use(tokens=105)

    run(ledger, work)


def test_what_was_not_answered_costs_nothing(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        limited = key(characters=10, tokens=10)
        for _ in range(3):
            hold = await meter.take(limited, 10)
            await hold.take_tokens(10)
            await hold.cancel()
        assert await meter.used(limited) == Use()

    run(ledger, work)
    assert ledger.ledger.report("2026", "2027") == []


def test_a_quota_begins_anew_and_late_refunds_go_where_they_came_from(ledger: Watched) -> None:
    clock = Clock()

    async def work(meter: Meter) -> None:
        limited = key(tokens=100)
        hold = await meter.take(limited, 1)
        await hold.take_tokens(100)
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        anew = await meter.take(limited, 1)
        await anew.take_tokens(100)
        await hold.settle(5, 5, "en-fr")
        assert await meter.used(limited) == Use(tokens=100)

    run(ledger, work, clock=clock)
    assert ledger.ledger.used("acme", MONTH) == Use(tokens=10)
    assert ledger.ledger.report("2026", "2027")[0].day == "2026-11-30"


def test_a_key_without_a_quota_pays_no_call_to_the_ledger(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        for caller in (key(), key(), None):
            hold = await meter.take(caller, 10)
            await hold.take_tokens(1000)
            await hold.settle(3, 4, "en-fr")
        assert ledger.calls == ["check"]

    run(ledger, work)
    assert ledger.calls == ["check", "add", "close"]
    assert ledger.ledger.report("2026", "2027") == [
        Usage("2026-11-30", "", "en-fr", 1, 10, 3, 4),
        Usage("2026-11-30", "acme", "en-fr", 2, 20, 6, 8),
    ]


def test_usage_is_written_by_itself_and_a_report_has_all_of_it(ledger: Watched) -> None:
    async def do() -> None:
        meter = Meter(ledger, now=Clock(), flush_every_s=0.01)
        await meter.open()
        await (await meter.take(None, 10)).settle(3, 4, "en-fr")
        until = time.monotonic() + 5
        while "add" not in ledger.calls and time.monotonic() < until:
            await asyncio.sleep(0.005)
        assert len(ledger.ledger.report("2026", "2027")) == 1
        await (await meter.take(None, 10)).settle(3, 4, "en-fr")
        (row,) = await meter.report("2026-11-30", "2026-11-30")
        assert row.requests == 2
        await meter.aclose()

    asyncio.run(do())


def test_while_the_ledger_is_down_only_keys_with_a_quota_are_refused(
    ledger: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(meter: Meter) -> None:
        held = await meter.take(key(tokens=100), 1)
        await held.take_tokens(100)
        ledger.go()
        for _ in range(2):
            with pytest.raises(UsageUnavailable, match="the key acme has a quota") as caught:
                await meter.take(key(characters=10), 1)
            assert "inner-host" not in str(caught.value)
        with pytest.raises(UsageUnavailable, match="cannot be reached now"):
            await meter.used(key())
        await (await meter.take(key(), 10)).settle(3, 4, "en-fr")
        await held.settle(10, 20, "en-fr")
        await meter.flush()
        await meter.flush()
        ledger.fault = None
        await meter.flush()

    with caplog.at_level(logging.WARNING):
        run(ledger, work)
    assert ledger.ledger.used("acme", MONTH) == Use(tokens=30)
    assert ledger.ledger.report("2026", "2027") == [
        Usage("2026-11-30", "acme", "en-fr", 2, 11, 13, 24)
    ]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "connection refused" in told[0]
    assert "can be reached again" in told[1]


def test_a_ledger_that_comes_back_midway_gets_nothing_twice(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        hold = await meter.take(key(tokens=100), 1)
        await hold.take_tokens(100)
        ledger.go()
        await hold.settle(10, 20, "en-fr")
        ledger.fault = None
        ledger.ledger, real = Watched(ledger.ledger), ledger.ledger
        refusing = ledger.ledger
        refusing.add = _refuse  # type: ignore[method-assign]
        await meter.flush()
        assert real.used("acme", MONTH) == Use(tokens=30)
        ledger.ledger = real
        await meter.flush()

    run(ledger, work)
    assert ledger.ledger.used("acme", MONTH) == Use(tokens=30)
    assert ledger.ledger.report("2026", "2027")[0].requests == 1


def test_what_is_lost_at_the_end_is_told(ledger: Watched, caplog: pytest.LogCaptureFixture) -> None:
    async def work(meter: Meter) -> None:
        await (await meter.take(key(), 10)).settle(3, 4, "en-fr")
        ledger.go()

    run(ledger, work)
    assert "lost at the end" in caplog.text
    assert "usage of 1 requests" in caplog.text


def test_rows_that_wait_are_bounded(
    ledger: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unwritten, "MOST_ROWS", 2)

    async def work(meter: Meter) -> None:
        for adapter in ("a", "b", "c", "d", "a"):
            await (await meter.take(None, 1)).settle(1, 1, adapter)

    run(ledger, work)
    rows = ledger.ledger.report("2026", "2027")
    assert [(row.adapter, row.requests) for row in rows] == [("a", 2), ("b", 1)]
    assert caplog.text.count("further ones are lost") == 1


def test_a_server_starts_without_its_ledger_but_not_with_a_newer_one(ledger: Watched) -> None:
    async def nothing(meter: Meter) -> None:
        pass

    ledger.go()
    run(ledger, nothing)
    ledger.fault = StartRefused("newer")
    with pytest.raises(StartRefused):
        run(ledger, nothing)


@pytest.mark.parametrize("begun", [True, False])
def test_a_client_who_hangs_up_while_being_charged_pays_nothing(
    ledger: Watched, begun: bool
) -> None:
    async def work(meter: Meter) -> None:
        ledger.gate.clear()
        # Behind a first call that hangs, the second has not begun.
        first = [] if begun else [asyncio.create_task(meter.used(key()))]
        asking = asyncio.create_task(meter.take(key(characters=10), 10))
        await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        ledger.gate.set()
        await asyncio.gather(*first)

    run(ledger, work)
    assert ledger.ledger.used("acme", MONTH) == Use()
    assert ("charge" in ledger.calls) == begun


@pytest.mark.parametrize("begun", [True, False])
def test_a_client_who_hangs_up_while_settling_gets_its_refund(ledger: Watched, begun: bool) -> None:
    async def work(meter: Meter) -> None:
        hold = await meter.take(key(tokens=100), 1)
        await hold.take_tokens(100)
        ledger.gate.clear()
        first = [] if begun else [asyncio.create_task(meter.used(key()))]
        settling = asyncio.create_task(hold.settle(1, 1, "en-fr"))
        await asyncio.sleep(0.02)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        await asyncio.sleep(0)
        ledger.gate.set()
        await asyncio.gather(*first)

    run(ledger, work)
    assert ledger.ledger.used("acme", MONTH) == Use(tokens=2)


def test_a_slow_ledger_stops_nothing_else(ledger: Watched) -> None:
    async def work(meter: Meter) -> None:
        ledger.gate.clear()
        slow = asyncio.create_task(meter.take(key(characters=10), 1))
        began = time.monotonic()
        for _ in range(5):
            await asyncio.sleep(0.001)
            await (await meter.take(key(), 1)).settle(1, 1, "en-fr")
        assert time.monotonic() - began < 1
        assert not slow.done()
        ledger.gate.set()
        await slow

    run(ledger, work)


def _refuse(rows: Sequence[Usage]) -> None:
    raise UsageUnavailable("gone again")
