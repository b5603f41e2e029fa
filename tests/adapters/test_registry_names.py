from __future__ import annotations

import os

import pytest

from adapters.errors import (
    AdapterNotFound,
    AliasInvalid,
    ManifestInvalid,
    RegistryError,
)
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests.fakes import publish

UI = AdapterId.parse("ui-en-fr")


def ref(text: str) -> AdapterRef:
    return AdapterRef.parse(text)


def test_an_alias_points_where_it_was_told(registry: FileRegistry) -> None:
    publish(registry)
    publish(registry, seed=1)
    registry.set_alias(UI, "canary", 2)
    assert registry.aliases(UI) == {"stable": 1, "canary": 2}
    assert registry.resolve(ref("ui-en-fr@canary")).manifest.version == 2


def test_rollback_undoes_promotions_one_by_one(registry: FileRegistry) -> None:
    for seed in range(4):
        publish(registry, seed=seed)
    for version in (2, 2, 3):  # promoted twice is promoted once
        registry.set_alias(UI, "stable", version)
    assert registry.rollback(UI).manifest.version == 2
    registry.set_alias(UI, "stable", 4)
    assert registry.rollback(UI).manifest.version == 2
    assert registry.rollback(UI).manifest.version == 1
    with pytest.raises(AliasInvalid, match="promote ui-en-fr@VERSION"):
        registry.rollback(UI)
    assert registry.aliases(UI) == {"stable": 1}
    registry.set_alias(UI, "stable", 2)
    assert registry.rollback(UI).manifest.version == 1


def test_rollback_leaves_a_broken_version(registry: FileRegistry) -> None:
    publish(registry)
    broken = publish(registry, seed=1)
    registry.set_alias(UI, "stable", 2)
    (broken.folder / "manifest.json").write_text("{")
    with pytest.raises(ManifestInvalid):
        registry.resolve(ref("ui-en-fr"))
    assert registry.rollback(UI).manifest.version == 1
    assert registry.resolve(ref("ui-en-fr")).manifest.version == 1


def test_rollback_passes_over_versions_that_are_gone(registry: FileRegistry) -> None:
    gone = [publish(registry, seed=seed) for seed in range(3)][1]
    for version in (2, 3):
        registry.set_alias(UI, "stable", version)
    os.rename(gone.folder, registry.root / "away")  # noqa: PTH104
    assert registry.rollback(UI).manifest.version == 1


def test_rollback_never_moves_to_a_version_that_cannot_be_read(registry: FileRegistry) -> None:
    first = publish(registry)
    publish(registry, seed=1)
    registry.set_alias(UI, "stable", 2)
    (first.folder / "manifest.json").unlink()
    with pytest.raises(ManifestInvalid):
        registry.rollback(UI)
    assert registry.aliases(UI)["stable"] == 2


@pytest.mark.parametrize("alias", ["", "1", "Stable", "../x", "a b", "x" * 33, "sha256:0"])
def test_an_alias_that_reads_as_something_else_is_refused(
    registry: FileRegistry, alias: str
) -> None:
    publish(registry)
    with pytest.raises(AliasInvalid, match="lower-case"):
        registry.set_alias(UI, alias, 1)


@pytest.mark.parametrize("version", [0, -1, 2, 10**12])
def test_an_alias_needs_a_version_that_is_there(registry: FileRegistry, version: int) -> None:
    publish(registry)
    with pytest.raises(AdapterNotFound, match="there are 1"):
        registry.set_alias(UI, "canary", version)
    assert registry.aliases(UI) == {"stable": 1}


def test_no_name_is_moved_to_a_version_that_cannot_be_read(registry: FileRegistry) -> None:
    publish(registry)
    (publish(registry, seed=1).folder / "manifest.json").unlink()
    with pytest.raises(ManifestInvalid):
        registry.set_alias(UI, "stable", 2)
    assert registry.aliases(UI) == {"stable": 1}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"stable": 1}', '{"stable": []}', '{"stable": ["1"]}',
     '{"stable": [true]}', '{"stable": [0]}', "\xff", '{"a":' * 10_000],
)  # fmt: skip
def test_broken_aliases_are_an_error_that_names_the_file(registry: FileRegistry, text: str) -> None:
    publish(registry)
    publish(registry, adapter_id="docs-en-fr")
    path = registry.root / "ui-en-fr" / "aliases.json"
    path.write_bytes(text.encode("latin-1"))
    for act in (registry.aliases, registry.rollback):
        with pytest.raises(RegistryError, match=r"aliases\.json.*restore the file") as caught:
            act(UI)
        assert "\n" not in str(caught.value)
    assert registry.resolve(ref("ui-en-fr@1")).manifest.version == 1, "exact names need no alias"
    assert registry.resolve(ref("docs-en-fr")).manifest.version == 1, "others are undisturbed"
    assert len(registry.ids()) == 2


def test_lost_aliases_mean_the_first_version(registry: FileRegistry) -> None:
    publish(registry)
    publish(registry, seed=1)
    (registry.root / "ui-en-fr" / "aliases.json").unlink()
    assert registry.resolve(ref("ui-en-fr")).manifest.version == 1
    registry.set_alias(UI, "stable", 2)
    assert registry.rollback(UI).manifest.version == 1
