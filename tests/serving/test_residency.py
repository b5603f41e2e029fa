from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from adapters.errors import AdapterRejected, AdaptersFull
from adapters.registry import Published
from serving import residency as module
from serving.metrics import Metrics
from serving.residency import Check, Residency
from serving.resolver import lora_int_id
from serving.rounds import Rounds
from tests.serving.conftest import Publish


class FakeEngine:
    """One worker's store, as the API process sees it: memory of `capacity` versions."""

    errored = False

    def __init__(self, capacity: int = 4) -> None:
        self.capacity = capacity
        self.cached: dict[int, list[Any]] = {}
        self.active: set[int] = set()
        self.leased: dict[str, set[int]] = {}
        self.broken: Exception | None = None
        self.fault = ""
        self.events: list[list[str]] = []
        self.calls: list[str] = []
        self.waits = 1
        self.pinned: set[int] = set()

    async def collective_rpc(self, method: str, *, args: tuple[Any, ...]) -> list[Any]:
        self.calls.append(method)
        if self.broken:
            raise self.broken
        return [getattr(self, method)(*args)]

    def dragoman_lease(self, client: str, numbers: list[int]) -> list[bool]:
        return [self._lease(client, number) for number in numbers]

    def dragoman_load(self, client: str, wanted: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [self._load(client, one) for one in wanted]

    def _lease(self, client: str, number: int) -> bool:
        if number in self.cached:
            self.leased.setdefault(client, set()).add(number)
        return number in self.cached

    def _load(self, client: str, wanted: dict[str, Any]) -> tuple[str, str]:
        number = wanted["number"]
        if self.fault:
            return "failed", self.fault
        self.leased.setdefault(client, set()).add(number)
        if number in self.cached:
            return "ready", ""
        if self.waits:
            self.waits -= 1
            return "started", ""
        kept = set().union(*self.leased.values()) - {number}
        if len(self.cached) >= self.capacity:
            idle = [n for n in self.cached if n not in kept]
            if not idle:
                return "full", ""
            del self.cached[idle[0]]
        self.cached[number] = [wanted["name"], *wanted["labels"]]
        return "ready", ""

    def dragoman_report(
        self, client: str, leased: list[int], pinned: list[int], gone: list[int]
    ) -> dict[str, Any]:
        self.leased[client] = set(leased)
        self.pinned = set(pinned)
        for number in {*gone} - set().union(*self.leased.values()):
            self.cached.pop(number, None)
        rows = [
            [n, *facts, "engine" if n in self.active else "cpu"] for n, facts in self.cached.items()
        ]
        events, self.events = self.events, []
        room = self.capacity - len(set().union(*self.leased.values()))
        return {
            "versions": rows, "events": events, "room": room, "capacity": self.capacity,
            "is_decoding": False,
        }  # fmt: skip


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(name: str, *, lora_int_id: int, folder: Path) -> SimpleNamespace:
        return SimpleNamespace(lora_name=name, lora_int_id=lora_int_id, lora_path=str(folder))

    monkeypatch.setattr(module, "lora_request", request)
    monkeypatch.setattr(module, "_POLL_S", 0.001)
    monkeypatch.setattr(module, "_FULL_POLL_S", 0.001)


def exposed(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]


def follower(
    engine: FakeEngine, registry: CollectorRegistry | None = None, check: Check | None = None
) -> Residency:
    return Residency(engine, Metrics(registry or CollectorRegistry()), {}, check)


async def use(residency: Residency, published: Published) -> Callable[[], None]:
    release = residency.hold(published)
    if not residency.holds(published.name) and not await residency.lease(published):
        await residency.load(published)
    return release


def test_a_loaded_version_is_held_named_in_its_tier_and_counted(publish: Publish) -> None:
    published = publish()
    registry, engine, versions = CollectorRegistry(), FakeEngine(), dict[str, tuple[str, str]]()
    residency = Residency(engine, Metrics(registry), versions)

    async def scenario() -> None:
        residency.hold(published)
        assert not residency.holds(published.name)
        await residency.load(published)
        assert residency.holds(published.name)
        assert residency.tiers() == {published.name: "cpu"}
        engine.active = {lora_int_id(published)}
        await residency.refresh()
        assert residency.tiers() == {published.name: "engine"}

    asyncio.run(scenario())
    assert versions == {published.name: ("ui-en-fr", "1")}
    lines = exposed(registry)
    labels = 'adapter="ui-en-fr",source="disk",version="1"'
    assert f"dragoman_adapter_loads_total{{{labels}}} 1.0" in lines
    assert f"dragoman_adapter_load_seconds_count{{{labels}}} 1.0" in lines


def test_tiers_follow_the_engine_and_its_evictions_are_counted(publish: Publish) -> None:
    published = publish()
    registry, engine = CollectorRegistry(), FakeEngine()
    residency = follower(engine, registry)

    async def scenario() -> None:
        release = await use(residency, published)
        engine.active = {lora_int_id(published)}
        await residency.refresh()
        engine.active = set()
        engine.events = [["evict", "engine", "ui-en-fr", "1"]]
        await residency.refresh()
        assert residency.tiers() == {published.name: "cpu"}
        release()
        engine.cached.clear()
        engine.events = [["evict", "cpu", "ui-en-fr", "1"], ["load", "step", "x-en-fr", "2"]]
        await residency.refresh(linger_s=0.0)
        assert residency.tiers() == {}
        assert not residency.holds(published.name)

    asyncio.run(scenario())
    lines = exposed(registry)
    for tier in ("engine", "cpu"):
        labels = f'adapter="ui-en-fr",tier="{tier}",version="1"'
        assert f"dragoman_adapter_evictions_total{{{labels}}} 1.0" in lines
        assert f"dragoman_adapter_resident{{{labels}}} 0.0" in lines
    assert 'dragoman_adapter_loads_total{adapter="x-en-fr",source="step",version="2"} 1.0' in lines


def test_a_second_request_asks_the_engine_nothing(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()
    residency = follower(engine)

    async def scenario() -> None:
        await use(residency, published)
        before = len(engine.calls)
        for _ in range(3):
            (await use(residency, published))()
        assert len(engine.calls) == before

    asyncio.run(scenario())


def test_a_version_in_use_stays_leased_however_long_and_an_idle_one_lingers(
    publish: Publish,
) -> None:
    published, engine = publish(), FakeEngine()
    residency = follower(engine)
    number = lora_int_id(published)

    async def scenario() -> None:
        release = await use(residency, published)
        await residency.refresh(linger_s=0.0)
        assert number in next(iter(engine.leased.values()))
        release()
        release()
        await residency.refresh()
        assert number in next(iter(engine.leased.values()))
        await residency.refresh(linger_s=0.0)
        assert number not in next(iter(engine.leased.values()))
        assert not residency.holds(published.name)
        # Still in memory: using it again takes a lease, and no load.
        loads = engine.calls.count("dragoman_load")
        await use(residency, published)
        assert number in next(iter(engine.leased.values()))
        assert engine.calls.count("dragoman_load") == loads

    asyncio.run(scenario())


def test_what_is_gone_from_memory_is_forgotten_here_too(publish: Publish) -> None:
    engine, versions = FakeEngine(capacity=3), dict[str, tuple[str, str]]()
    residency = Residency(engine, Metrics(CollectorRegistry()), versions)
    every = [publish(seed=seed) for seed in range(12)]

    async def scenario() -> None:
        for published in every:
            (await use(residency, published))()
            await residency.refresh(linger_s=0.0)
        assert len(engine.cached) == 3

    asyncio.run(scenario())
    assert {*versions} == {*residency._known} == {p.name for p in every[-3:]}
    assert {*residency.tiers()} == {*versions}


def test_memory_full_of_versions_in_use_is_said_so_and_room_is_used(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FULL_WAIT_S", 0.05)
    engine = FakeEngine(capacity=2)
    residency = follower(engine)
    first, second, third = (publish(seed=seed) for seed in range(3))

    async def scenario() -> None:
        release = await use(residency, first)
        await use(residency, second)
        with pytest.raises(AdaptersFull, match="max-cpu-loras"):
            await use(residency, third)
        release()
        await use(residency, third)
        assert not residency.holds(first.name)
        assert residency.holds(third.name)

    asyncio.run(scenario())


def test_one_that_waits_for_room_gets_it_when_a_request_ends(publish: Publish) -> None:
    engine = FakeEngine(capacity=1)
    residency = follower(engine)
    first, second = publish(), publish(seed=1)

    async def scenario() -> None:
        release = await use(residency, first)
        waiting = asyncio.create_task(use(residency, second))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        release()
        await waiting
        assert residency.holds(second.name)

    asyncio.run(scenario())


def test_a_removed_version_leaves_memory_with_its_last_user(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()
    publish(seed=1)
    residency = follower(engine)

    async def scenario() -> None:
        release = await use(residency, published)
        shutil.rmtree(published.folder)
        await residency.refresh()
        assert engine.cached
        assert residency.holds(published.name)
        release()
        await residency.refresh()
        assert not engine.cached
        assert not residency._known

    asyncio.run(scenario())


def test_a_registry_that_is_not_there_removes_nothing(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()
    residency = follower(engine)

    async def scenario() -> None:
        (await use(residency, published))()
        shutil.rmtree(published.folder.parents[2])
        await residency.refresh()
        assert engine.cached

    asyncio.run(scenario())


def test_a_check_stands_between_load_and_first_use(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()
    checked: list[str] = []
    results: list[Exception | None] = [AdapterRejected("wrong answer"), None]

    async def check(version: Published, weights: Any) -> None:
        checked.append(weights.lora_name)
        assert not residency.holds(version.name)
        if error := results.pop(0):
            raise error

    residency = follower(engine, check=check)

    async def scenario() -> None:
        with pytest.raises(AdapterRejected):
            await use(residency, published)
        assert not residency.holds(published.name)
        # Also by way of a lease: it is in memory, and has not passed.
        await use(residency, published)
        assert residency.holds(published.name)
        await use(residency, published)

    asyncio.run(scenario())
    assert checked == [published.name] * 2


def test_what_fails_its_check_leaves_memory(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()

    async def check(_: Published, __: Any) -> None:
        raise AdapterRejected("wrong answer")

    residency = follower(engine, check=check)

    async def scenario() -> None:
        release = residency.hold(published)
        with pytest.raises(AdapterRejected):
            await residency.load(published)
        release()
        await residency.refresh()
        assert not engine.cached

    asyncio.run(scenario())


def test_pinned_versions_are_named_to_the_engine(publish: Publish) -> None:
    published, engine = publish(), FakeEngine()
    residency = follower(engine)

    async def scenario() -> None:
        await use(residency, published)
        residency.pin([published.name])
        await residency.refresh()
        assert engine.pinned == {lora_int_id(published)}

    asyncio.run(scenario())


def test_adapters_of_other_processes_are_shown_by_what_the_engine_says(publish: Publish) -> None:
    registry, engine = CollectorRegistry(), FakeEngine()
    engine.cached[7] = ["x-en-fr@0123", "x-en-fr", "4"]
    residency = follower(engine, registry)
    asyncio.run(residency.refresh())
    assert residency.tiers() == {"x-en-fr@0123": "cpu"}
    labels = 'adapter="x-en-fr",tier="cpu",version="4"'
    assert f"dragoman_adapter_resident{{{labels}}} 1.0" in exposed(registry)


def fails(residency: Residency, published: Published) -> Awaitable[Any]:
    residency.hold(published)
    return residency.load(published)


def test_a_load_that_the_engine_refuses_is_a_rejected_adapter(publish: Publish) -> None:
    engine = FakeEngine()
    engine.fault = "rank 9"
    residency = follower(engine)
    published = publish()

    async def scenario() -> None:
        with pytest.raises(AdapterRejected, match=r"rank 9.*adapters verify ui-en-fr"):
            await fails(residency, published)
        engine.broken = ValueError("no such method")
        with pytest.raises(AdapterRejected, match="no such method"):
            await fails(residency, published)

    asyncio.run(scenario())
    assert not residency.holds(published.name)


def test_a_dead_engine_is_not_blamed_on_the_adapter(publish: Publish) -> None:
    engine = FakeEngine()
    engine.errored, engine.broken = True, ConnectionError("dead")
    published, residency = publish(), follower(engine)

    async def scenario() -> None:
        with pytest.raises(ConnectionError):
            await fails(residency, published)

    asyncio.run(scenario())


def test_following_outlives_a_failed_poll_and_complains_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_REFRESH_S", 0.001)
    monkeypatch.setattr(module, "_IDLE_REFRESH_S", 0.0)
    complaints: list[str] = []
    note = SimpleNamespace(warning=lambda text, **_: complaints.append(text))
    monkeypatch.setattr(module, "logger", note)
    engine = FakeEngine()
    residency = follower(engine)

    async def polls(more: int) -> None:
        wanted = len(engine.calls) + more
        while len(engine.calls) < wanted:
            await asyncio.sleep(0.001)

    async def scenario() -> None:
        residency.follow()
        engine.broken = TimeoutError("busy")
        await polls(4)
        assert len(complaints) == 1
        engine.broken = None
        await polls(3)
        engine.broken = TimeoutError("busy")
        await polls(4)
        assert len(complaints) == 2

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_questions_that_come_together_are_one_call() -> None:
    rounds: list[list[int]] = []

    async def send(questions: list[int]) -> list[list[int]]:
        rounds.append(questions)
        await asyncio.sleep(0.001)
        if 13 in questions:
            raise ConnectionError("dead")
        return [[10 * q for q in questions], [20 * q for q in questions]]

    async def scenario() -> None:
        calls = Rounds(send)
        first = asyncio.create_task(calls.ask(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        more = [asyncio.create_task(calls.ask(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        more[1].cancel()
        assert await first == [10, 20]
        assert await more[2] == [40, 80]
        assert rounds == [[1], [2, 3, 4]]
        with pytest.raises(ConnectionError):
            await calls.ask(13)
        assert await calls.ask(5) == [50, 100]

    asyncio.run(scenario())
