from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterNotFound,
    AdapterRejected,
    AdaptersFull,
    FileCorrupt,
    RegistryError,
)
from adapters.registry import FileRegistry
from tests.serving.conftest import Publish
from tests.serving.resolver_rig import rig, settle


def test_a_name_resolves_to_its_stable_version_loaded(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    first = publish()
    publish(seed=1)

    async def scenario() -> None:
        r = rig(registry, base)
        resolved = await r.resolver.resolve("ui-en-fr")
        assert resolved.published == first
        assert resolved.route == "name:stable"
        assert r.engine.loads == [first.name]

    asyncio.run(scenario())


def test_requests_that_come_together_share_one_verification_and_one_load(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base)
        names = ["ui-en-fr", "ui-en-fr@1", "ui-en-fr@stable"] * 5
        await asyncio.gather(*(r.resolver.resolve(name) for name in names))
        assert len(r.engine.loads) == 1
        assert r.registry.asked == 2  # `@stable` is the bare name

    asyncio.run(scenario())


def test_a_cancelled_first_request_spoils_nothing_for_those_who_wait(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.gate.clear()
        first = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        second = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        first.cancel()
        await settle()
        assert first.cancelled()
        r.engine.gate.set()
        assert (await second).name in r.engine.held
        assert len(r.engine.loads) == 1

    asyncio.run(scenario())


def test_a_failure_that_nobody_waited_for_is_not_handed_to_the_next_request(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.gate.clear()
        r.engine.broken = AdaptersFull("the engine had no room")
        first = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        first.cancel()
        r.engine.gate.set()
        await settle()
        r.engine.broken = None
        assert (await r.resolver.resolve("ui-en-fr")).name in r.engine.held

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [AdaptersFull("now"), OSError("disk"), RuntimeError("dead")])
def test_any_failed_load_is_tried_again_by_the_next_request(
    registry: FileRegistry, base: Path, publish: Publish, error: Exception
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.broken = error
        with pytest.raises(type(error)):
            await r.resolver.resolve("ui-en-fr")
        r.engine.broken = None
        assert (await r.resolver.resolve("ui-en-fr")).name in r.engine.held

    asyncio.run(scenario())


def test_a_corrupt_version_is_refused_before_the_engine_and_served_once_mended(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    weights = publish().folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")

    async def scenario() -> None:
        r = rig(registry, base)
        with pytest.raises(FileCorrupt, match=r"adapter_model\.safetensors"):
            await r.resolver.resolve("ui-en-fr")
        assert r.engine.loads == []
        weights.write_bytes(whole)
        assert (await r.resolver.resolve("ui-en-fr")).name in r.engine.held

    asyncio.run(scenario())


def test_a_version_evicted_from_the_engine_is_verified_and_loaded_again(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    published = publish()

    async def scenario() -> None:
        r = rig(registry, base)
        await r.resolver.resolve("ui-en-fr")
        r.engine.held.clear()
        await r.resolver.resolve("ui-en-fr")
        assert r.engine.loads == [published.name] * 2
        r.engine.held.clear()
        (published.folder / "adapter_model.safetensors").write_bytes(b"other")
        with pytest.raises(FileCorrupt):
            await r.resolver.resolve("ui-en-fr")

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["ui-en-fr", "ui-en-fr@1"])
def test_a_version_deleted_after_use_answers_while_it_is_in_memory_and_is_not_found_after(
    registry: FileRegistry, base: Path, publish: Publish, name: str
) -> None:
    folder = publish().folder

    async def scenario() -> None:
        r = rig(registry, base)
        await r.resolver.resolve(name)
        shutil.rmtree(folder)
        await r.resolver.resolve(name)
        r.engine.held.clear()
        with pytest.raises(AdapterNotFound):
            await r.resolver.resolve(name)
        assert len(r.engine.loads) == 1

    asyncio.run(scenario())


def test_a_moved_alias_is_seen_after_its_time_and_a_pinned_version_stays(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    first, second = publish(), publish(seed=1)

    async def scenario() -> None:
        slow, quick = rig(registry, base, ttl_s=60), rig(registry, base, ttl_s=0)
        for r in (slow, quick):
            assert (await r.resolver.resolve("ui-en-fr")).published == first
            assert (await r.resolver.resolve("ui-en-fr@1")).published == first
        registry.set_alias(first.manifest.id, "stable", 2)
        assert (await slow.resolver.resolve("ui-en-fr")).published == first
        assert (await quick.resolver.resolve("ui-en-fr")).published == second
        before = quick.registry.asked
        assert (await quick.resolver.resolve("ui-en-fr@1")).published == first
        assert quick.registry.asked == before

    asyncio.run(scenario())


def test_a_version_that_is_removed_while_it_loads_costs_no_request_of_its_name(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    first, second = publish(), publish(seed=1)
    registry.set_alias(first.manifest.id, "stable", second.manifest.version)

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.gate.clear()
        by_name = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        by_number = asyncio.create_task(r.resolver.resolve("ui-en-fr@2"))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        registry.rollback(first.manifest.id)
        registry.remove(second.manifest.id, second.manifest.version)
        r.engine.removed.add(second.name)
        r.engine.gate.set()
        assert (await by_name).published == first
        with pytest.raises(AdapterNotFound):
            await by_number
        assert r.engine.users == {first.name: 1, second.name: 0}

    asyncio.run(scenario())


def test_a_request_is_not_refused_for_a_prefetch_that_found_no_room(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    published = publish()

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.is_full = True
        r.engine.gate.clear()
        prefetch = asyncio.create_task(r.resolver.open(published, idle_s=10.0))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        request = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        while len(r.engine.loads) < 2:
            await asyncio.sleep(0.001)
        r.engine.gate.set()
        with pytest.raises(AdaptersFull):
            await prefetch
        assert (await request).published == published

    asyncio.run(scenario())


def test_a_version_is_held_from_its_resolution_to_its_release(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    name = publish().name

    async def scenario() -> None:
        r = rig(registry, base)
        first, second = [await r.resolver.resolve("ui-en-fr") for _ in range(2)]
        assert r.engine.users[name] == 2
        first.release()
        assert r.engine.users[name] == 1
        second.release()
        r.engine.held.clear()
        r.engine.broken = AdaptersFull("no room")
        with pytest.raises(AdaptersFull):
            await r.resolver.resolve("ui-en-fr")
        assert r.engine.users[name] == 0

    asyncio.run(scenario())


def test_a_request_that_goes_while_its_version_loads_holds_it_no_longer(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    name = publish().name

    async def scenario() -> None:
        r = rig(registry, base)
        r.engine.gate.clear()
        waiting = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        waiting.cancel()
        await settle()
        assert r.engine.users[name] == 0
        r.engine.gate.set()
        await settle()

    asyncio.run(scenario())


def test_weights_that_are_still_in_memory_need_no_file(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    published = publish()

    async def scenario() -> None:
        r = rig(registry, base)
        (await r.resolver.resolve("ui-en-fr@1")).release()
        r.engine.held.clear()
        r.engine.lapsed.add(published.name)
        shutil.rmtree(published.folder)
        assert (await r.resolver.resolve("ui-en-fr@1")).name in r.engine.held
        assert len(r.engine.loads) == 1

    asyncio.run(scenario())


def test_a_version_that_the_engine_refused_is_not_tried_again_until_it_is_mended(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    folder = publish().folder

    async def scenario() -> None:
        await asyncio.sleep(0.06)  # what changed just now might change again unseen
        r = rig(registry, base)
        r.engine.broken = AdapterRejected("no such module")
        for _ in range(5):
            with pytest.raises(AdapterRejected, match="no such module"):
                await r.resolver.resolve("ui-en-fr")
        assert len(r.engine.loads) == 1
        r.engine.broken = None
        (folder / "README.md").write_text("touched")
        assert (await r.resolver.resolve("ui-en-fr")).name in r.engine.held

    asyncio.run(scenario())


def test_a_store_that_is_gone_for_a_while_takes_nothing_back(
    registry: FileRegistry, base: Path, publish: Publish, tmp_path: Path
) -> None:
    first = publish()

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=0)
        await r.resolver.resolve("ui-en-fr")
        registry.root.rename(tmp_path / "away")
        assert (await r.resolver.resolve("ui-en-fr")).published == first
        with pytest.raises(RegistryError):
            await r.resolver.resolve("other-en-fr")

    asyncio.run(scenario())


def test_the_names_of_versions_that_exist_fill_no_memory(
    registry: FileRegistry, base: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import resolver as module

    monkeypatch.setattr(module, "_MOST_NAMES", 10)
    digest = publish().manifest.digest

    async def scenario() -> None:
        r = rig(registry, base)
        for length in range(12, 65):
            await r.resolver.resolve(f"ui-en-fr@{digest[: 7 + length]}")
        for number in range(100):
            with pytest.raises(AdapterNotFound):
                await r.resolver.resolve(f"ui-en-fr@{number + 2}")
        assert len(r.resolver._names) == 10
        assert len(r.resolver._asking) == len(r.resolver._opening) == 0

    asyncio.run(scenario())
