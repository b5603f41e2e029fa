from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import AdapterRejected
from adapters.ids import AdapterId
from adapters.registry import FileRegistry, Published
from serving import prefetch as module
from serving.prefetch import Prefetcher
from serving.resolver import Resolved
from tests.serving.conftest import Publish

UI = AdapterId.parse("ui-en-fr")


class FakeOpener:
    def __init__(self) -> None:
        self.opened: list[tuple[str, float]] = []
        self.users: dict[str, int] = {}
        self.broken = False

    async def open(self, published: Published, *, idle_s: float = 0.0) -> Callable[[], None]:
        if self.broken:
            raise AdapterRejected("broken")
        self.opened.append((published.name, idle_s))
        self.users[published.name] = self.users.get(published.name, 0) + 1

        def release() -> None:
            self.users[published.name] -= 1

        return release


class Rig:
    def __init__(
        self,
        registry: FileRegistry,
        *,
        pinned: tuple[AdapterId, ...] = (),
        state: Path | None = None,
    ) -> None:
        self.opener = FakeOpener()
        self.pinned: list[str] = []
        self.prefetcher = Prefetcher(registry, self.opener, self._pin, pinned=pinned, state=state)

    def _pin(self, names: list[str]) -> None:
        self.pinned = names

    def use(self, published: Published) -> None:
        self.prefetcher.note(Resolved(published, 1, "name:stable"))

    def look(self) -> list[str]:
        self.opener.opened.clear()
        asyncio.run(self.prefetcher.look())
        return [name for name, _ in self.opener.opened]


def test_a_version_published_under_traffic_is_loaded_and_nobody_holds_it(
    registry: FileRegistry, publish: Publish
) -> None:
    rig = Rig(registry)
    rig.use(publish())
    assert rig.look() == []
    second = publish(seed=1)
    assert rig.look() == [second.name]
    assert rig.opener.opened[0][1] > 0
    assert rig.look() == []
    assert set(rig.opener.users.values()) == {0}


def test_a_name_that_moves_under_traffic_is_followed(
    registry: FileRegistry, publish: Publish
) -> None:
    rig = Rig(registry)
    first, second, _ = (publish(seed=seed) for seed in range(3))
    rig.use(first)
    rig.look()
    registry.set_alias(UI, "stable", 2)
    assert rig.look() == [second.name]
    registry.set_alias(UI, "stable", 3)
    assert rig.look() == []  # the newest was there already


def test_what_nobody_uses_is_not_prefetched(
    registry: FileRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(registry)
    first = publish()
    publish(seed=1)
    assert rig.look() == []
    rig.use(first)
    monkeypatch.setattr(module, "_RECENT_S", -1.0)
    rig.look()
    assert not rig.prefetcher._recent


def test_a_broken_version_spoils_nothing(registry: FileRegistry, publish: Publish) -> None:
    rig = Rig(registry)
    rig.use(publish())
    rig.look()
    publish(seed=1)
    rig.opener.broken = True
    assert rig.look() == []


def test_the_table_of_recent_traffic_is_bounded(
    registry: FileRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    rig = Rig(registry)
    for name in ("a-en-fr", "b-en-fr", "c-en-fr"):
        rig.use(publish(name))
    assert [str(i) for i in rig.prefetcher._recent] == ["b-en-fr", "c-en-fr"]


def test_what_was_used_last_comes_back_first_after_a_restart(
    registry: FileRegistry, publish: Publish, tmp_path: Path
) -> None:
    state = tmp_path / "home" / "recent.json"
    before = Rig(registry, state=state)
    a, b = publish("a-en-fr"), publish("b-en-fr")
    before.use(a)
    before.use(b)
    before.prefetcher._save()
    state.write_text(json.dumps([*json.loads(state.read_text()), "gone-en-fr@7", "?", 5]))
    after = Rig(registry, state=state)
    asyncio.run(after.prefetcher.load_last_used())
    assert [name for name, _ in after.opener.opened] == [b.name, a.name]
    state.write_text("{")
    asyncio.run(after.prefetcher.load_last_used())


def test_a_pinned_adapter_is_held_for_ever_in_the_version_that_its_id_means(
    registry: FileRegistry, publish: Publish
) -> None:
    rig = Rig(registry, pinned=(UI, AdapterId.parse("gone-en-fr")))
    first, second = publish(), publish(seed=1)
    asyncio.run(rig.prefetcher.load_pinned())
    asyncio.run(rig.prefetcher.load_pinned())
    assert rig.opener.users == {first.name: 1}
    assert rig.pinned == [first.name]
    registry.set_alias(UI, "stable", 2)
    asyncio.run(rig.prefetcher.load_pinned())
    assert rig.opener.users == {first.name: 0, second.name: 1}
    assert rig.pinned == [second.name]


def test_a_pinned_version_that_cannot_follow_stays_as_it_was(
    registry: FileRegistry, publish: Publish
) -> None:
    rig = Rig(registry, pinned=(UI,))
    first = publish()
    publish(seed=1)
    asyncio.run(rig.prefetcher.load_pinned())
    registry.set_alias(UI, "stable", 2)
    rig.opener.broken = True
    asyncio.run(rig.prefetcher.load_pinned())
    assert rig.pinned == [first.name]
    assert rig.opener.users == {first.name: 1}
