from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from adapters.errors import RegistryError
from serving import health as module
from serving import markers
from serving.health import Health, live, ready, startup
from serving.metrics import Metrics
from serving.run_folder import RunFolder
from serving.traffic import Exchange, Traffic


class FakeEngine:
    def __init__(self) -> None:
        self.errored = False
        self.worker: list[str] | Exception = sorted(markers.worker())
        self.core = sorted(markers.ENGINE_CORE)
        self.answers = asyncio.Event()
        self.answers.set()
        self.engine_core = SimpleNamespace(call_utility_all_async=self._core)

    async def collective_rpc(self, method: str) -> list[list[str]]:
        assert method == "dragoman_markers"
        await self.answers.wait()
        if isinstance(self.worker, Exception):
            raise self.worker
        return [self.worker]

    async def _core(self, method: str) -> list[list[str]]:
        assert method == "dragoman_markers"
        return [self.core]


class FakeRegistry:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.unreadable = False
        self.takes_s = 0.0
        self.asked = 0

    def probe(self) -> None:
        self.asked += 1
        time.sleep(self.takes_s)
        if self.error:
            raise self.error

    def ids(self) -> list[str]:
        if self.unreadable:
            raise RegistryError("permission denied")
        return []


class Rig:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(markers, "_set", set(markers.API_PROCESS))
        monkeypatch.setattr(module, "_TICK_S", 0.005)
        self.engine = FakeEngine()
        self.registry = FakeRegistry()
        registry: Any = self.registry
        self.run_folder = RunFolder(folder)
        self.traffic = Traffic(Metrics(CollectorRegistry()), self.run_folder)
        self.health = Health(self.engine, registry, self.traffic, self.run_folder)
        self.app = FastAPI()
        self.app.state.dragoman_health = self.health
        for path, probe in (("/live", live), ("/ready", ready), ("/startup", startup)):
            self.app.add_api_route(path, probe)

    async def get(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get(path)

    async def ready(self) -> httpx.Response:
        await self.health.look()
        return await self.get("/ready")


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def test_a_server_with_everything_in_force_is_ready(rig: Rig) -> None:
    answer = asyncio.run(rig.ready())
    assert answer.status_code == 200
    body = answer.json()
    assert body["ready"] is True
    assert {*body["checks"]} == {"plugins", "registry", "engine", "draining"}
    assert body["plugins"] == sorted(markers.API_PROCESS)


def test_nothing_is_ready_before_it_was_looked_at(rig: Rig) -> None:
    answer = asyncio.run(rig.get("/ready"))
    assert answer.status_code == 503
    assert "not looked at" in answer.json()["checks"]["registry"]["why"]


def lost_marker(rig: Rig) -> None:
    markers._set.discard("stats")


def lost_in_worker(rig: Rig) -> None:
    rig.engine.worker = []


def lost_in_core(rig: Rig) -> None:
    rig.engine.core = []


def vanished_registry(rig: Rig) -> None:
    rig.registry.error = RegistryError("stale file handle")


def slow_registry(rig: Rig) -> None:
    rig.registry.takes_s = 0.2
    rig.health._registry_question._bound_s = 0.02


def failing_engine(rig: Rig) -> None:
    rig.engine.worker = RuntimeError("boom")


def silent_engine(rig: Rig) -> None:
    rig.engine.answers.clear()
    rig.health._engine_question._bound_s = 0.02


def dead_engine(rig: Rig) -> None:
    rig.engine.errored = True


def draining(rig: Rig) -> None:
    rig.run_folder.ask_to_drain()


@pytest.mark.parametrize(("harm", "check", "why", "code"), [
    (lost_marker, "plugins", "stats", "unavailable"),
    (lost_in_worker, "plugins", "engine_guard in worker 0", "unavailable"),
    (lost_in_core, "plugins", "engine_guard in engine core 0", "unavailable"),
    (vanished_registry, "registry", "stale file handle", "unavailable"),
    (slow_registry, "registry", "no answer within", "unavailable"),
    (failing_engine, "engine", "boom", "unavailable"),
    (silent_engine, "engine", "no answer within", "unavailable"),
    (dead_engine, "engine", "died", "engine_dead"),
    (draining, "draining", "about to end", "draining"),
])  # fmt: skip
def test_each_fault_makes_it_unready_and_is_named(
    rig: Rig, harm: Callable[[Rig], None], check: str, why: str, code: str
) -> None:
    async def probe() -> httpx.Response:
        assert (await rig.ready()).status_code == 200
        harm(rig)
        return await rig.ready()

    answer = asyncio.run(probe())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    body = answer.json()
    assert body["error"]["code"] == code
    assert {name for name, found in body["checks"].items() if not found["ok"]} == {check}
    assert why in body["checks"][check]["why"]


def test_what_heals_is_ready_again(rig: Rig) -> None:
    async def heal() -> list[int]:
        await rig.ready()
        vanished_registry(rig)
        before = (await rig.ready()).status_code
        rig.registry.error = None
        return [before, (await rig.ready()).status_code]

    assert asyncio.run(heal()) == [503, 200]


@pytest.mark.parametrize(("unreadable", "status"), [(False, 200), (True, 503)])
def test_a_registry_that_nobody_published_to_yet_is_an_empty_one(
    rig: Rig, unreadable: bool, status: int
) -> None:
    rig.registry.error = RegistryError("no such folder")
    rig.registry.unreadable = unreadable
    assert asyncio.run(rig.ready()).status_code == status


def test_a_store_that_hangs_is_not_asked_again_meanwhile(rig: Rig) -> None:
    slow_registry(rig)

    async def look_often() -> None:
        for _ in range(3):
            await rig.health.look()

    asyncio.run(look_often())
    assert rig.registry.asked == 1


def test_a_probe_asks_nobody(rig: Rig) -> None:
    async def probe() -> None:
        await rig.health.look()
        for _ in range(10):
            await rig.get("/ready")

    asyncio.run(probe())
    assert rig.registry.asked == 1


def test_death_and_draining_are_seen_without_another_look(rig: Rig) -> None:
    async def die() -> list[int]:
        codes = [(await rig.ready()).status_code]
        dead_engine(rig)
        codes.append((await rig.get("/ready")).status_code)
        rig.engine.errored = False
        draining(rig)
        return [*codes, (await rig.get("/ready")).status_code]

    assert asyncio.run(die()) == [200, 503, 503]


def test_startup_stays_true_and_live_is_always(rig: Rig) -> None:
    async def probe() -> list[int]:
        codes = [(await rig.get("/startup")).status_code, (await rig.get("/live")).status_code]
        await rig.health.look()
        codes.append((await rig.get("/startup")).status_code)
        dead_engine(rig)
        codes.append((await rig.get("/startup")).status_code)
        return [*codes, (await rig.get("/live")).status_code]

    assert asyncio.run(probe()) == [503, 200, 200, 200, 200]


def test_after_the_engines_death_the_process_ends_once_nobody_waits(rig: Rig) -> None:
    async def die() -> None:
        ended = asyncio.Event()
        rig.health.follow(ended.set)
        await asyncio.sleep(0.02)
        assert not ended.is_set()
        dead_engine(rig)
        await asyncio.wait_for(ended.wait(), 1)

    asyncio.run(die())


def test_what_hangs_when_the_engine_dies_is_ended_before_the_process(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STUCK_S", 0.01)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def hangs(*_: Any) -> None:
        await asyncio.sleep(60)

    async def die() -> None:
        ended = asyncio.Event()
        scope = {"type": "http", "path": "/v1/completions"}
        asking = asyncio.create_task(
            rig.traffic.carry(hangs, Exchange(scope, None, send), deadline_s=60)
        )
        rig.health.follow(ended.set)
        await asyncio.sleep(0.02)
        dead_engine(rig)
        await asyncio.wait_for(ended.wait(), 1)
        assert asking.done()

    asyncio.run(die())
    assert sent[0]["status"] == 503


def test_a_process_says_that_it_serves_and_when_it_has_drained(rig: Rig) -> None:
    async def drain() -> list[bool]:
        rig.health.follow(lambda: None)
        said = [rig.run_folder.has_drained()]
        rig.traffic._under_way[asyncio.current_task()] = None  # type: ignore[index,assignment]
        rig.run_folder.ask_to_drain()
        await asyncio.sleep(0.03)
        said.append(rig.run_folder.has_drained())
        rig.traffic._under_way.clear()
        await asyncio.sleep(0.03)
        return [*said, rig.run_folder.has_drained()]

    assert asyncio.run(drain()) == [False, False, True]
