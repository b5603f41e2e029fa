"""The open loop: each request is sent when its time has come, whoever is still unanswered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from loadtests.load import client
from loadtests.load.client import Asking
from loadtests.load.plan import Planned
from loadtests.load.served import Ending, Served

# The server may take every core of this machine; a generator that waits for one measures itself.
_NICE: Final = -15
_COLLECT_EVERY: Final = 100_000

Beside = Callable[[Callable[[], float]], Coroutine[Any, Any, None]]


async def run(
    url: str,
    planned: Sequence[Planned],
    asking: Asking,
    *,
    settle_s: float,
    beside: Sequence[Beside] = (),
) -> list[Served]:
    """Return what became of each request, in the plan's order, `settle_s` after the last at most.

    A request that has no end by then is LOST. What runs beside is given the clock of the load, and
    cancelled at its end; what ends it early is raised.
    """
    found = [Served(one) for one in planned]
    with _undisturbed():
        async with client.session(url, asking.headers) as session:
            now = client.clock()
            tasks = []
            others = [asyncio.create_task(one(now)) for one in beside]

            async def one(served: Served) -> None:
                served.sent_s = now()
                await client.follow(session, asking, served, now)

            for served in found:
                await asyncio.sleep(max(0.0, served.planned.at_s - now()))
                tasks.append(asyncio.create_task(one(served)))
            await _ended(tasks, settle_s)
            await _cancelled(others)
    for served in found:
        if not served.ended_s:
            served.ending, served.ended_s = Ending.LOST, now()
            served.detail = f"no end {settle_s:g} s after the last request"
    return found


async def _ended(tasks: Sequence[asyncio.Task[None]], settle_s: float) -> None:
    _, pending = await asyncio.wait(tasks, timeout=settle_s)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, Exception):
            raise end


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Take precedence while the load runs, as far as this user may, and collect no garbage."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(before, _NICE))
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
