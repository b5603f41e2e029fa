"""Where each version is now: in an engine slot, in its CPU cache, or on disk."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from adapters.errors import AdapterRejected
from adapters.registry import Published
from serving.metrics import Metrics
from serving.observe import labels_of
from serving.resolver import lora_int_id
from serving.vllm_compat import lora_request

_REFRESH_S: Final = 2.0
_TIERS: Final = ("engine", "cpu")
logger = logging.getLogger("vllm.dragoman")


class Residency:
    """Loads versions into the engine and follows them through its tiers."""

    def __init__(self, engine: Any, metrics: Metrics, versions: dict[str, tuple[str, str]]) -> None:
        """Follow `engine`; `versions` (engine name -> labels) is filled with what is loaded."""
        self._engine = engine
        self._metrics = metrics
        self._versions = versions
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._tiers: dict[str, frozenset[int]] = dict.fromkeys(_TIERS, frozenset())
        self._seen = True
        self._task: asyncio.Task[None] | None = None

    def holds(self, name: str) -> bool:
        """Return whether the engine has the weights in memory, as far as was last seen."""
        lora_int_id = self._ids.get(name)
        return lora_int_id is not None and any(lora_int_id in ids for ids in self._tiers.values())

    async def load(self, published: Published) -> None:
        """Put a verified version into the engine's memory.

        Raises AdapterRejected, or what the engine raises when it is dead.
        """
        labels = labels_of(published.manifest.id, published.manifest.version)
        number = lora_int_id(published)
        started = time.perf_counter()
        try:
            await self._engine.add_lora(
                lora_request(published.name, lora_int_id=number, folder=published.folder)
            )
        except Exception as error:
            if self._engine.errored:
                raise
            raise AdapterRejected(
                f"{published.name}: the engine could not load it ({error}); "
                f"check it with `dragoman adapters verify {published.manifest.id}`"
            ) from error
        self._metrics.loads.labels(*labels, "disk").inc()
        self._metrics.load_seconds.labels(*labels, "disk").observe(time.perf_counter() - started)
        self._versions[published.name] = labels
        self._names[number], self._ids[published.name] = published.name, number
        self._move("cpu", self._tiers["cpu"] | {number})
        await self._refresh_if_possible()

    def tiers(self) -> dict[str, str]:
        """Return the best tier of each version that is in memory, by the engine's name of it."""
        best: dict[str, str] = {}
        for tier in reversed(_TIERS):
            best.update({self._names[i]: tier for i in self._tiers[tier] if i in self._names})
        return best

    async def refresh(self) -> None:
        """Ask the engine what it holds, and publish it."""
        answers = await self._engine.collective_rpc("dragoman_residency")
        active, cached = answers[0]
        self._move("engine", frozenset(active))
        self._move("cpu", frozenset(cached))

    def follow(self) -> None:
        """Refresh every two seconds from now on."""
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            await self._refresh_if_possible()

    async def _refresh_if_possible(self) -> None:
        try:
            await self.refresh()
        except Exception:
            # The engine's death is seen and answered elsewhere; for the gauges one line is enough.
            if self._seen:
                logger.warning("residency could not be read from the engine", exc_info=True)
            self._seen = False
        else:
            self._seen = True

    def _move(self, tier: str, now: frozenset[int]) -> None:
        before = self._tiers[tier]
        for number in (before | now) & self._names.keys():
            labels = self._versions[self._names[number]]
            self._metrics.resident.labels(*labels, tier).set(number in now)
            if number in before - now:
                self._metrics.evictions.labels(*labels, tier).inc()
        self._tiers[tier] = now
