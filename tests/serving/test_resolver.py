from __future__ import annotations

import asyncio
import dataclasses
import shutil
from pathlib import Path

import pytest

from adapters.base_model import BaseModelRef
from adapters.errors import (
    AdapterNotFound,
    AdapterRejected,
    BaseModelMismatch,
    FileCorrupt,
    ManifestInvalid,
    RankTooLarge,
)
from adapters.ids import AdapterRef
from adapters.registry import FileRegistry, Published
from serving.resolver import Resolver, RunningBase, lora_int_id
from tests.serving.conftest import Publish


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
        r.engine.broken = AdapterRejected("the engine had no room")
        first = asyncio.create_task(r.resolver.resolve("ui-en-fr"))
        while not r.engine.loads:
            await asyncio.sleep(0.001)
        first.cancel()
        r.engine.gate.set()
        await settle()
        r.engine.broken = None
        assert (await r.resolver.resolve("ui-en-fr")).name in r.engine.held

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [AdapterRejected("no"), OSError("disk"), RuntimeError("dead")])
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
        with pytest.raises(AdapterRejected):
            await r.resolver.resolve(name)
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


@pytest.mark.parametrize(
    "name",
    [
        "nope-en-fr",
        "ui-en-fr@7",
        "ui-en-fr@canary",
        "../ui-en-fr",
        "ui-en-fr/..",
        "",
        "x" * 100_000,
    ],
)
def test_names_asked_in_vain_leave_nothing_behind(
    registry: FileRegistry, base: Path, publish: Publish, name: str
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base)
        with pytest.raises(AdapterNotFound) as caught:
            await r.resolver.resolve(name)
        assert len(str(caught.value)) < 500
        await settle()
        assert not r.resolver._names
        assert not len(r.resolver._asking)
        assert not len(r.resolver._opening)
        assert r.engine.loads == []

    asyncio.run(scenario())


def test_an_alias_that_was_removed_is_forgotten(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    published = publish()
    registry.set_alias(published.manifest.id, "canary", 1)

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=0)
        await r.resolver.resolve("ui-en-fr@canary")
        (registry.root / "ui-en-fr" / "aliases.json").unlink()
        with pytest.raises(AdapterNotFound):
            await r.resolver.resolve("ui-en-fr@canary")
        assert not r.resolver._names

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["ui-en-fx", "tyni", "ui-en"])
def test_an_unknown_model_is_answered_with_the_nearest_names(
    registry: FileRegistry, base: Path, publish: Publish, name: str
) -> None:
    publish()
    nearest = "tiny" if name == "tyni" else "ui-en-fr"

    async def scenario() -> None:
        with pytest.raises(AdapterNotFound, match=nearest):
            await rig(registry, base).resolver.resolve(name)

    asyncio.run(scenario())


def test_an_adapter_of_another_base_is_refused_with_both_names(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    other = BaseModelRef(name="other", fingerprint=f"sha256:{'1' * 64}", vocab_size=261)
    publish(base=other)

    async def scenario() -> None:
        r = rig(registry, base)
        with pytest.raises(BaseModelMismatch, match=r"trained on other .* runs tiny"):
            await r.resolver.resolve("ui-en-fr")
        assert r.engine.loads == []

    asyncio.run(scenario())


def test_a_rank_above_the_servers_limit_is_refused(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        with pytest.raises(RankTooLarge, match="limit of 1"):
            await rig(registry, base, max_rank=1).resolver.resolve("ui-en-fr")

    asyncio.run(scenario())


def test_one_broken_adapter_leaves_the_others_alone(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    (publish("bad-en-fr").folder / "manifest.json").write_text("{")
    good = publish("good-en-fr", seed=1)

    async def scenario() -> None:
        r = rig(registry, base)
        bad, fine = await asyncio.gather(
            r.resolver.resolve("bad-en-fr"),
            r.resolver.resolve("good-en-fr"),
            return_exceptions=True,
        )
        assert isinstance(bad, ManifestInvalid)
        assert not isinstance(fine, BaseException)
        assert fine.published == good

    asyncio.run(scenario())


def test_the_engines_number_is_63_bits_of_the_digest_and_never_zero(publish: Publish) -> None:
    published = publish()
    digits = published.manifest.digest.removeprefix("sha256:")[:16]
    assert lora_int_id(published) == int(digits, 16) & (2**63 - 1)
    zero = published.manifest.model_copy(update={"digest": f"sha256:{'0' * 64}"})
    assert lora_int_id(dataclasses.replace(published, manifest=zero)) == 1
