"""A resolver on a real registry and a fake engine."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from adapters.base_model import BaseModelRef
from adapters.ids import AdapterRef
from adapters.registry import FileRegistry, Published
from serving.resolver import Resolver, RunningBase


class FakeEngine:
    """Holds names; `gate` keeps loads waiting, `broken` fails them."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: Exception | None = None

    def holds(self, name: str) -> bool:
        return name in self.held

    async def load(self, published: Published) -> None:
        self.loads.append(published.name)
        await self.gate.wait()
        if self.broken:
            raise self.broken
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
