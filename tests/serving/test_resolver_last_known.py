"""A registry that cannot be read for a while takes nothing back."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from adapters.errors import AdapterNotFound, RegistryError
from adapters.registry import FileRegistry
from serving import resolver as module
from tests.serving.conftest import Publish
from tests.serving.resolver_rig import rig


def test_a_name_keeps_its_version_while_the_registry_is_gone(
    registry: FileRegistry, base: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish()
    away = registry.root.with_name("away")

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=0)
        await r.resolver.resolve("ui-en-fr")
        registry.root.rename(away)
        for _ in range(3):
            assert (await r.resolver.resolve("ui-en-fr")).published == first
        with pytest.raises(RegistryError, match="registry: cannot be read"):
            await r.resolver.resolve("other-en-fr")
        # It is bounded: a store that stays away must not be believed for ever.
        monkeypatch.setattr(module, "_LAST_KNOWN_S", -1.0)
        with pytest.raises(RegistryError):
            await r.resolver.resolve("ui-en-fr")
        assert not r.resolver._names

    asyncio.run(scenario())


def test_a_registry_that_is_back_is_believed_at_once(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()
    second = publish(seed=1)
    aliases = registry.root / "ui-en-fr" / "aliases.json"

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=0)
        assert (await r.resolver.resolve("ui-en-fr")).manifest.version == 1
        aliases.write_text("{")
        assert (await r.resolver.resolve("ui-en-fr")).manifest.version == 1
        aliases.write_text('{"stable": [1, 2]}')
        assert (await r.resolver.resolve("ui-en-fr")).published == second

    asyncio.run(scenario())


def test_while_it_is_gone_it_is_asked_no_more_often_than_before(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=60)
        resolved = await r.resolver.resolve("ui-en-fr")
        ref = next(iter(r.resolver._names))
        known = r.resolver._names[ref]
        r.resolver._names[ref] = dataclasses.replace(known, asked_at=known.asked_at - 61)
        registry.root.rename(registry.root.with_name("away"))
        asked = r.registry.asked
        for _ in range(5):
            assert (await r.resolver.resolve("ui-en-fr")).published == resolved.published
        assert r.registry.asked == asked + 1

    asyncio.run(scenario())


def test_an_adapter_that_was_removed_from_a_sound_registry_is_gone(
    registry: FileRegistry, base: Path, publish: Publish
) -> None:
    publish()

    async def scenario() -> None:
        r = rig(registry, base, ttl_s=0)
        await r.resolver.resolve("ui-en-fr")
        (registry.root / "ui-en-fr").rename(registry.root.with_name("away"))
        with pytest.raises(AdapterNotFound):
            await r.resolver.resolve("ui-en-fr")

    asyncio.run(scenario())
