from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from adapters.base_model import BaseModelRef
from adapters.errors import (
    AdapterNotFound,
    BaseModelMismatch,
    ManifestInvalid,
    RankTooLarge,
)
from adapters.registry import FileRegistry
from serving.resolver import lora_int_id
from tests.serving.conftest import Publish
from tests.serving.resolver_rig import rig, settle


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
