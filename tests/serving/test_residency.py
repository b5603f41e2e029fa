from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from adapters.errors import AdapterRejected
from serving import residency as module
from serving.metrics import Metrics
from serving.residency import Residency
from serving.resolver import lora_int_id
from tests.serving.conftest import Publish


class FakeEngine:
    errored = False

    def __init__(self) -> None:
        self.active: list[int] = []
        self.cached: list[int] = []
        self.broken: Exception | None = None
        self.refuses: Exception | None = None
        self.polls = 0

    async def add_lora(self, request: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.cached.append(request.lora_int_id)
        self.active.append(request.lora_int_id)

    async def collective_rpc(self, method: str) -> list[tuple[list[int], list[int]]]:
        assert method == "dragoman_residency"
        self.polls += 1
        if self.broken:
            raise self.broken
        return [(self.active, self.cached)]


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(name: str, *, lora_int_id: int, folder: Path) -> SimpleNamespace:
        return SimpleNamespace(lora_name=name, lora_int_id=lora_int_id, lora_path=str(folder))

    monkeypatch.setattr(module, "lora_request", request)


def exposed(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]


def test_a_loaded_version_is_held_named_in_its_tier_and_counted(publish: Publish) -> None:
    published = publish()
    registry, engine, versions = CollectorRegistry(), FakeEngine(), dict[str, tuple[str, str]]()
    follower = Residency(engine, Metrics(registry), versions)
    assert not follower.holds(published.name)
    asyncio.run(follower.load(published))
    assert follower.holds(published.name)
    assert follower.tiers() == {published.name: "engine"}
    assert versions == {published.name: ("ui-en-fr", "1")}
    lines = exposed(registry)
    labels = 'adapter="ui-en-fr",source="disk",version="1"'
    assert f"dragoman_adapter_loads_total{{{labels}}} 1.0" in lines
    assert f"dragoman_adapter_load_seconds_count{{{labels}}} 1.0" in lines


def test_tiers_follow_the_engine_and_evictions_are_counted(publish: Publish) -> None:
    published = publish()
    registry, engine = CollectorRegistry(), FakeEngine()
    follower = Residency(engine, Metrics(registry), {})

    async def scenario() -> None:
        await follower.load(published)
        engine.active = []
        await follower.refresh()
        assert follower.tiers() == {published.name: "cpu"}
        engine.cached = []
        await follower.refresh()
        assert follower.tiers() == {}
        assert not follower.holds(published.name)

    asyncio.run(scenario())
    lines = exposed(registry)
    for tier in ("engine", "cpu"):
        labels = f'adapter="ui-en-fr",tier="{tier}",version="1"'
        assert f"dragoman_adapter_evictions_total{{{labels}}} 1.0" in lines
        assert f"dragoman_adapter_resident{{{labels}}} 0.0" in lines


def test_adapters_of_vllms_own_flags_get_no_labels_of_ours(publish: Publish) -> None:
    registry, engine = CollectorRegistry(), FakeEngine()
    engine.active, engine.cached = [1, 2], [1, 2]
    asyncio.run(Residency(engine, Metrics(registry), {}).refresh())
    assert not [line for line in exposed(registry) if line.startswith("dragoman_adapter")]


def test_a_load_that_the_engine_refuses_is_a_rejected_adapter(publish: Publish) -> None:
    engine = FakeEngine()
    engine.refuses = ValueError("rank 9")
    follower = Residency(engine, Metrics(CollectorRegistry()), {})
    published = publish()
    with pytest.raises(AdapterRejected, match=r"rank 9.*adapters verify ui-en-fr"):
        asyncio.run(follower.load(published))
    assert not follower.holds(published.name)


def test_a_dead_engine_is_not_blamed_on_the_adapter(publish: Publish) -> None:
    engine = FakeEngine()
    engine.errored, engine.refuses = True, ConnectionError("dead")
    with pytest.raises(ConnectionError):
        asyncio.run(Residency(engine, Metrics(CollectorRegistry()), {}).load(publish()))


def test_a_loaded_version_is_held_even_if_the_engine_cannot_be_asked(publish: Publish) -> None:
    engine = FakeEngine()
    engine.broken = TimeoutError("busy")
    follower = Residency(engine, Metrics(CollectorRegistry()), {})
    published = publish()
    asyncio.run(follower.load(published))
    assert follower.holds(published.name)
    assert lora_int_id(published) in engine.cached


def test_following_outlives_a_failed_poll_and_complains_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_REFRESH_S", 0.001)
    complaints: list[str] = []
    note = SimpleNamespace(warning=lambda text, **_: complaints.append(text))
    monkeypatch.setattr(module, "logger", note)
    engine = FakeEngine()
    follower = Residency(engine, Metrics(CollectorRegistry()), {})

    async def polls(more: int) -> None:
        wanted = engine.polls + more
        while engine.polls < wanted:
            await asyncio.sleep(0.001)

    async def scenario() -> None:
        follower.follow()
        engine.broken = TimeoutError("busy")
        await polls(4)
        assert len(complaints) == 1
        engine.broken = None
        await polls(3)
        engine.broken = TimeoutError("busy")
        await polls(4)
        assert len(complaints) == 2

    asyncio.run(asyncio.wait_for(scenario(), 5))
