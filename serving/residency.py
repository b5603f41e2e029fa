"""Where each version is now: in an engine slot, in its CPU cache, or on disk."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, Final

from adapters.manifest import AdapterManifest
from serving.metrics import Metrics
from serving.observe import labels_of
from serving.vllm_compat import LoRARequest

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
        self._tiers: dict[str, frozenset[int]] = dict.fromkeys(_TIERS, frozenset())
        self._task: asyncio.Task[None] | None = None

    async def load(self, name: str, lora_int_id: int, folder: Path) -> None:
        """Put a verified version into the engine; raises what the engine raises."""
        labels = self._labels(name, folder)
        started = time.perf_counter()
        await self._engine.add_lora(
            LoRARequest(lora_name=name, lora_int_id=lora_int_id, lora_path=str(folder))
        )
        self._metrics.loads.labels(*labels, "disk").inc()
        self._metrics.load_seconds.labels(*labels, "disk").observe(time.perf_counter() - started)
        self._versions[name] = labels
        self._names[lora_int_id] = name
        await self.refresh()

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
            try:
                await self.refresh()
            except Exception:
                # The engine's death is seen and answered elsewhere; this only feeds gauges.
                logger.warning("residency could not be read from the engine", exc_info=True)
                return

    def _move(self, tier: str, now: frozenset[int]) -> None:
        before = self._tiers[tier]
        for lora_int_id in (before | now) & self._names.keys():
            labels = self._versions[self._names[lora_int_id]]
            self._metrics.resident.labels(*labels, tier).set(lora_int_id in now)
            if lora_int_id in before - now:
                self._metrics.evictions.labels(*labels, tier).inc()
        self._tiers[tier] = now

    @staticmethod
    def _labels(name: str, folder: Path) -> tuple[str, str]:
        manifest = AdapterManifest.read(folder)
        if not name.startswith(f"{manifest.id}@"):
            raise ValueError(f"{folder} holds {manifest.id}, expected {name}")
        return labels_of(manifest.id, manifest.version)
