from __future__ import annotations

import asyncio
import shutil

from adapters.ids import AdapterId, AdapterRef
from adapters.manifest import Score
from adapters.registry import FileRegistry, Published
from serving.catalogue import Catalogue
from tests.serving.conftest import Publish

SCORE = Score(metric="chrF++", value=53.4, signature="nrefs:1", test_set="held-out")


class CountingRegistry(FileRegistry):
    listed = 0
    read = 0

    def ids(self) -> list[AdapterId]:
        self.listed += 1
        return super().ids()

    def resolve(self, ref: AdapterRef) -> Published:
        self.read += 1
        return super().resolve(ref)


def listing(catalogue: Catalogue) -> list[tuple[str, int]]:
    entries = asyncio.run(catalogue.entries())
    return [(str(e.shown.manifest.id), e.shown.manifest.version) for e in entries]


def test_every_adapter_is_listed_by_id_with_its_stable_version(
    registry: FileRegistry, publish: Publish
) -> None:
    publish("b-en-fr")
    publish("a-en-fr")
    publish("a-en-fr", seed=1)
    assert listing(Catalogue(registry, ttl_s=0)) == [("a-en-fr", 1), ("b-en-fr", 1)]


def test_what_was_read_is_kept_for_its_time_and_then_looked_up_again(
    registry: FileRegistry, publish: Publish
) -> None:
    published = publish()
    fresh, kept = Catalogue(registry, ttl_s=0), Catalogue(registry, ttl_s=60)
    assert listing(fresh) == listing(kept) == [("ui-en-fr", 1)]
    publish(seed=1)
    registry.set_alias(published.manifest.id, "stable", 2)
    assert listing(kept) == [("ui-en-fr", 1)]
    assert listing(fresh) == [("ui-en-fr", 2)]


def test_a_manifest_is_read_once(registry: FileRegistry, publish: Publish) -> None:
    publish("a-en-fr")
    publish("b-en-fr")
    counting = CountingRegistry(registry.root)
    catalogue = Catalogue(counting, ttl_s=0)
    assert listing(catalogue) == listing(catalogue)
    assert (counting.listed, counting.read) == (2, 2)


def test_listings_that_come_together_read_the_registry_once(
    registry: FileRegistry, publish: Publish
) -> None:
    publish()
    counting = CountingRegistry(registry.root)
    catalogue = Catalogue(counting, ttl_s=0)

    async def together() -> None:
        await asyncio.gather(*(catalogue.entries() for _ in range(10)))

    asyncio.run(together())
    assert counting.listed == 1


def test_one_broken_adapter_does_not_hide_the_others(
    registry: FileRegistry, publish: Publish
) -> None:
    (publish("bad-en-fr").folder / "manifest.json").write_text("{")
    publish("good-en-fr")
    catalogue = Catalogue(registry, ttl_s=0)
    assert listing(catalogue) == [("good-en-fr", 1)]
    assert asyncio.run(catalogue.entry("bad-en-fr")) is None


def test_a_version_that_was_deleted_is_not_shown_any_more(
    registry: FileRegistry, publish: Publish
) -> None:
    folder = publish("a-en-fr").folder
    publish("b-en-fr")
    catalogue = Catalogue(registry, ttl_s=0)
    listing(catalogue)
    shutil.rmtree(folder)
    assert listing(catalogue) == [("b-en-fr", 1)]
    assert len(catalogue._versions) == 1


def test_another_version_of_the_same_number_is_read_anew(
    registry: FileRegistry, publish: Publish
) -> None:
    catalogue = Catalogue(registry, ttl_s=0)
    first = publish()
    listing(catalogue)
    shutil.rmtree(first.folder.parents[1])
    second = publish(seed=1)
    assert second.manifest.version == first.manifest.version
    (entry,) = asyncio.run(catalogue.entries())
    assert entry.shown == second


def test_one_adapter_is_looked_up_without_listing_all(
    registry: FileRegistry, publish: Publish
) -> None:
    published = publish()
    counting = CountingRegistry(registry.root)
    catalogue = Catalogue(counting, ttl_s=0)
    found = asyncio.run(catalogue.entry("ui-en-fr"))
    assert found is not None
    assert found.shown == published
    for name in ("nope-en-fr", "../ui-en-fr", ""):
        assert asyncio.run(catalogue.entry(name)) is None
    assert counting.listed <= 1  # to name what is nearest to the unknown one


def test_facts_are_those_of_the_interface(registry: FileRegistry, publish: Publish) -> None:
    published = publish(scores=(SCORE,))
    registry.set_alias(published.manifest.id, "canary", 1)
    (entry,) = asyncio.run(Catalogue(registry, ttl_s=0).entries())
    assert entry.facts({}) == {
        "pairs": ["en-fr"],
        "domain": "ui",
        "version": 1,
        "aliases": {"stable": 1, "canary": 1},
        "digest": published.manifest.digest,
        "residency": "disk",
        "scores": [SCORE.model_dump(mode="json")],
    }
    assert entry.facts({published.name: "engine"})["residency"] == "engine"
