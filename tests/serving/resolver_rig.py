"""A resolver on a real registry and a fake engine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from adapters.base_model import BaseModelRef
from adapters.errors import AdapterRejected, AdaptersFull
from adapters.ids import AdapterRef
from adapters.registry import FileRegistry, Published
from serving.resolver import Resolver, RunningBase


class FakeEngine:
    """Holds names; `gate` keeps loads waiting; `lapsed` still has weights.

    `broken` fails every load, `removed` those of the versions it names, `is_full` prefetches.
    """

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.lapsed: set[str] = set()
        self.users: Counter[str] = Counter()
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: Exception | None = None
        self.removed: set[str] = set()
        self.is_full = False

    def holds(self, name: str) -> bool:
        return name in self.held

    def is_busy(self) -> bool:
        return False

    def hold(self, published: Published) -> Callable[[], None]:
        self.users[published.name] += 1

        def release() -> None:
            self.users[published.name] -= 1

        return release

    async def lease(self, published: Published) -> bool:
        self.held |= {published.name} & self.lapsed
        return published.name in self.held

    async def load(self, published: Published, identity: str, *, idle_s: float = 0.0) -> None:
        assert self.users[published.name] > 0
        self.loads.append(published.name)
        await self.gate.wait()
        if self.is_full and idle_s:
            raise AdaptersFull("every adapter in the engine's memory is in use")
        if self.broken:
            raise self.broken
        if published.name in self.removed:
            raise AdapterRejected("no such file")
        self.held.add(published.name)


class CountingRegistry(FileRegistry):
    asked = 0

    def resolve(self, ref: AdapterRef) -> Published:
        self.asked += 1
        return super().resolve(ref)


@dataclasses.dataclass
class Rig:
    resolver: Resolver
    engine: FakeEngine
    registry: CountingRegistry


def rig(registry: FileRegistry, base: Path, *, ttl_s: float = 60.0, max_rank: int = 64) -> Rig:
    counting = CountingRegistry(registry.root)
    engine = FakeEngine()
    running = RunningBase(BaseModelRef.read(base), base, served_name="tiny")
    resolver = Resolver(counting, running, engine, max_rank=max_rank, alias_ttl_s=ttl_s)
    return Rig(resolver, engine, counting)


async def settle() -> None:
    """Let every callback that is due run."""
    for _ in range(5):
        await asyncio.sleep(0)
