"""What a server holds on to while it is loaded: memory, descriptors, metric series."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import aiohttp
import psutil

from loadtests.load.target import Target

_EVERY_S: Final = 5.0
_LOOKS: Final = 50  # at least, in a short run
# Looks after which the processes are looked for again: an engine that died is back as another.
_SAME: Final = 12
# The first fifth is left out: caches fill, the allocator finds its size.
_SETTLED: Final = 0.2
_EDGE: Final = 0.2


@dataclass(frozen=True)
class Holding:
    """What is held at a time; None where it cannot be seen from here."""

    at_s: float
    rss_mb: float | None
    descriptors: int | None
    series: int | None


class Watch:
    """Looks every few seconds."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target = target
        self._every_s = min(_EVERY_S, seconds / _LOOKS)
        started = target.started
        self._processes = Processes(started.server.process.pid) if started else None
        self.seen: list[Holding] = []

    async def run(self, now: Callable[[], float]) -> None:
        """Look until cancelled."""
        async with aiohttp.ClientSession(headers=self._target.headers) as session:
            while True:
                self.seen.append(await self._look(session, now()))
                await asyncio.sleep(self._every_s)

    async def _look(self, session: aiohttp.ClientSession, at_s: float) -> Holding:
        text = ""
        with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
            async with session.get(f"{self._target.url}/metrics") as answer:
                text = await answer.text() if answer.status == 200 else ""
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        if self._processes is not None:
            rss, descriptors = self._processes.held()
        else:
            rss, descriptors = (
                _named(lines, "process_resident_memory_bytes"),
                _named(lines, "process_open_fds"),
            )
        return Holding(
            round(at_s, 2),
            None if rss is None else round(rss / 1e6, 1),
            None if descriptors is None else int(descriptors),
            len(lines) or None,
        )


class Processes:
    """A server's process and all below it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._found: list[psutil.Process] = []
        self._looks = 0

    def held(self) -> tuple[float | None, float | None]:
        """Return bytes and descriptors of all; None once the server is gone.

        Bytes are of their own pages: what processes share would be counted again in each.
        """
        # To look for them takes 10 ms in the generator's loop, so not each time.
        is_due = self._looks % _SAME == 0
        self._looks += 1
        if is_due or not all(process.is_running() for process in self._found):
            try:
                root = psutil.Process(self._root)
                self._found = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return None, None
        memory = descriptors = 0
        for process in self._found:
            with contextlib.suppress(psutil.NoSuchProcess):
                info = process.memory_info()
                memory += info.rss - info.shared
                descriptors += process.num_fds()
        return float(memory), float(descriptors)


def growth(seen: Sequence[Holding]) -> dict[str, Any]:
    """Return by how many percent each grew: median of the end over median of the settled start."""
    settled = seen[int(len(seen) * _SETTLED) :]
    edge = max(1, int(len(settled) * _EDGE))
    found: dict[str, Any] = {}
    for what in ("rss_mb", "descriptors", "series"):
        values = [v for holding in settled if (v := asdict(holding)[what]) is not None]
        if len(values) >= 2 * edge:
            first, last = median(values[:edge]), median(values[-edge:])
            found[what] = {
                "first": round(first, 1),
                "last": round(last, 1),
                "growth_percent": round(100 * (last / first - 1), 2),
            }
    return found


def _named(lines: Sequence[str], name: str) -> float | None:
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
    return float(values[0]) if values else None
