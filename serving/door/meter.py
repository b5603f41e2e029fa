"""Quotas, charged before the work and settled after it; usage, summed and written each second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from adapters.errors import QuotaExceeded, StartRefused, UsageUnavailable
from serving.door.key import Key, Quota
from serving.door.ledger import Ledger, Usage, Use
from serving.door.period import ends_at, ends_in_s, period_of
from serving.door.unwritten import Unwritten

_LOG: Final = logging.getLogger(__name__)
_FLUSH_EVERY_S: Final = 1.0
_DOWN: Final = (UsageUnavailable, StartRefused)
_T = TypeVar("_T")


class Meter:
    """What the door and the routes charge; used from one event loop, which it never blocks.

    A key without a quota costs no call to the ledger: its usage is summed, and a process that is
    killed loses the last second of it. All calls go through one thread, in order.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        flush_every_s: float = _FLUSH_EVERY_S,
    ) -> None:
        """Keep usage in `ledger`; `now` is the clock that days and months are read from."""
        self._ledger = ledger
        self._now = now
        self._flush_every_s = flush_every_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dragoman-usage")
        self._unwritten = Unwritten()
        self._flusher: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._is_down = False

    async def open(self) -> None:
        """Look at the ledger, and write to it from now on; one that is down is only logged.

        Raises StartRefused for the ledger of a newer release.
        """
        try:
            await self._call(self._ledger.check)
        except UsageUnavailable as error:
            self._note_down(error)
        self._flusher = asyncio.create_task(self._flush_until_closed())

    async def aclose(self) -> None:
        """Write what is not yet written, and let go of the ledger."""
        self._closing.set()
        if self._flusher is not None:
            await self._flusher
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self.flush()
        if self._unwritten:
            _LOG.error("usage: lost at the end, %s: %s", self._ledger.place, self._unwritten)
        # The thread goes with us: an answer that ends only now can still be settled.
        await self._call(self._ledger.close)

    async def take(self, key: Key | None, characters: int) -> Hold:
        """Charge a request's characters against the key's quota, if it has one.

        Raises QuotaExceeded, and UsageUnavailable for a key with a quota of which the ledger
        cannot tell how much is left.
        """
        hold = Hold(self, key, characters, self._now())
        await hold.take_characters()
        return hold

    async def used(self, key: Key) -> Use:
        """Return what counts against the key's quota now. Raises UsageUnavailable."""
        period = period_of(key.quota.per, self._now())
        return await self._ask(lambda: self._ledger.used(key.name, period))

    async def report(self, since: str, until: str, key: str | None = None) -> list[Usage]:
        """Return usage of days, as `Ledger.report`, up to this moment. Raises UsageUnavailable."""
        await self.flush()
        return await self._ask(lambda: self._ledger.report(since, until, key))

    async def flush(self) -> None:
        """Write usage and late corrections; what cannot be written now waits for the next time."""
        if self._unwritten:
            batch, self._unwritten = self._unwritten, Unwritten()
            self._unwritten.merge(await self._call(lambda: self._write(batch)))

    async def charge(self, account: Account, use: Use) -> None:
        """Add to what the key used, or raise QuotaExceeded. Cancelled, nothing stays charged."""
        work = self._thread.submit(
            self._ledger.charge, account.key, account.period, use, account.quota
        )
        try:
            is_charged = await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if not work.cancel():
                self._begin(self._undo(work, account, use))
            raise
        except _DOWN as error:
            self._note_down(error)
            raise UsageUnavailable(
                f"the key {account.key} has a quota, and how much of it is left cannot be told "
                "now; try again in a moment"
            ) from error
        if not is_charged:
            raise await self._exceeded(account, use)

    async def correct(self, account: Account, use: Use) -> None:
        """Add to what the key used, whatever its quota; what is negative is given back.

        Never raises. Begun at once, so that a caller who is cancelled meanwhile loses nothing.
        """
        work = self._thread.submit(self._ledger.correct, account.key, account.period, use)
        await asyncio.shield(self._begin(self._corrected(work, account, use)))

    def count(self, usage: Usage) -> None:
        """Add to the sums that are written within a second."""
        self._unwritten.add(usage)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return a task that goes on though its caller is cancelled, and that `aclose` awaits."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _corrected(self, work: Future[None], account: Account, use: Use) -> None:
        try:
            await asyncio.wrap_future(work)
        except _DOWN as error:
            self._note_down(error)
            self._unwritten.correct(account.key, account.period, use)

    async def _undo(self, work: Future[bool], account: Account, use: Use) -> None:
        with contextlib.suppress(*_DOWN):
            if await asyncio.wrap_future(work):
                await self.correct(account, Use(-use.characters, -use.tokens))

    async def _exceeded(self, account: Account, asked: Use) -> QuotaExceeded:
        had = await self._ask(lambda: self._ledger.used(account.key, account.period))
        what = "characters" if asked.characters else "tokens"
        per, now = account.quota.per, self._now()
        return QuotaExceeded(
            f"the key {account.key} may use {getattr(account.quota, what):,} {what} a {per} and "
            f"has used {getattr(had, what):,}; this request takes up to {getattr(asked, what):,}. "
            f"The quota begins anew on {ends_at(per, now):%Y-%m-%d} at 00:00 UTC; ask for less "
            "until then, or for a larger quota",
            retry_after_s=ends_in_s(per, now),
        )

    async def _ask(self, function: Callable[[], _T]) -> _T:
        try:
            return await self._call(function)
        except _DOWN as error:
            # Where the ledger is, is no client's business.
            self._note_down(error)
            raise UsageUnavailable(
                "the store of usage cannot be reached now; try again in a moment"
            ) from error

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _flush_until_closed(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._flush_every_s)
            await self.flush()

    def _note_down(self, error: Exception) -> None:
        if not self._is_down:
            _LOG.warning("%s; until then keys with a quota are refused, others are not", error)
        self._is_down = True

    # In the thread

    def _write(self, batch: Unwritten) -> Unwritten:
        """Write a batch; return what of it could not be written."""
        try:
            while batch.corrections:
                (key, period), use = next(iter(batch.corrections.items()))
                self._ledger.correct(key, period, use)
                del batch.corrections[key, period]
            self._ledger.add(list(batch.rows.values()))
        except _DOWN as error:
            self._note_down(error)
            return batch
        batch.rows.clear()
        if self._is_down:
            self._is_down = False
            _LOG.warning("usage: %s can be reached again", self._ledger.place)
        return batch


@dataclass(frozen=True)
class Account:
    """What a charge goes to: one key's quota of one period."""

    key: str
    period: str
    quota: Quota


class Hold:
    """What one request has been charged so far: `settle` it, or `cancel` it."""

    def __init__(self, meter: Meter, key: Key | None, characters: int, began: datetime) -> None:
        quota = key.quota if key is not None else Quota()
        self._meter = meter
        self._characters = characters
        self._day = period_of("day", began)
        # Kept to its end: what is given back goes to the period that it was taken from.
        self._account = Account(key.name if key else "", period_of(quota.per, began), quota)
        self._held = Use()
        self._is_over = False

    async def take_characters(self) -> None:
        """Charge the characters: the part of `Meter.take` that may have to wait."""
        if self._account.quota.characters is not None and self._characters:
            await self._take(Use(characters=self._characters))

    async def take_tokens(self, upper_bound: int) -> None:
        """Charge the most tokens that (a further part of) the request may take, prompt included.

        Raises as `Meter.take` does; what was taken before stays so until `cancel`.
        """
        if self._account.quota.tokens is not None and upper_bound:
            await self._take(Use(tokens=upper_bound))

    async def settle(self, prompt_tokens: int, completion_tokens: int, adapter: str) -> None:
        """Count what the request took, and give back what was held beyond that. Never raises."""
        if self._is_over:
            return
        self._is_over = True
        tokens = (prompt_tokens, completion_tokens)
        self._meter.count(
            Usage(self._day, self._account.key, adapter, 1, self._characters, *tokens)
        )
        if self._account.quota.tokens is not None:
            await self._correct(Use(tokens=sum(tokens) - self._held.tokens))

    async def cancel(self) -> None:
        """Give everything back: nothing was answered. Never raises; nothing after `settle`."""
        if not self._is_over:
            self._is_over = True
            await self._correct(Use(-self._held.characters, -self._held.tokens))

    async def _take(self, use: Use) -> None:
        await self._meter.charge(self._account, use)
        self._held = Use(self._held.characters + use.characters, self._held.tokens + use.tokens)

    async def _correct(self, use: Use) -> None:
        if use != Use():
            await self._meter.correct(self._account, use)
