from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import (
    AdapterNotFound,
    InvalidId,
    ManifestInvalid,
    RegistryError,
)
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests import fakes
from tests.fakes import publish

UI = AdapterId.parse("ui-en-fr")


def ref(text: str) -> AdapterRef:
    return AdapterRef.parse(text)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("ui-en-fx", "ui-en-fr"), ("uo-en-fr", "ui-en-fr"), ("zzz-ja-ko", "nearest: docs-en-de")],
)
def test_an_unknown_id_names_the_nearest(registry: FileRegistry, asked: str, hint: str) -> None:
    publish(registry)
    publish(registry, adapter_id="docs-en-de")
    for act in (registry.versions, registry.numbers, registry.rollback):
        with pytest.raises(AdapterNotFound, match=hint):
            act(AdapterId.parse(asked))
    with pytest.raises(AdapterNotFound, match=hint):
        registry.resolve(ref(asked))
    with pytest.raises(AdapterNotFound, match=hint):
        registry.set_alias(AdapterId.parse(asked), "stable", 1)
    assert len(list(registry.root.iterdir())) == 2, "asking creates nothing"


def test_an_empty_registry_says_so(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path / "absent")
    assert registry.ids() == []
    assert registry.aliases(UI) == {}
    with pytest.raises(AdapterNotFound, match="the registry is empty"):
        registry.resolve(ref("ui-en-fr"))


def test_a_probe_tells_an_absent_registry_from_an_empty_one(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path / "registry")
    with pytest.raises(RegistryError, match=r"registry: cannot be read .*DRAGOMAN_REGISTRY"):
        registry.probe()
    registry.root.write_text("a file")
    with pytest.raises(RegistryError, match="cannot be read"):
        registry.probe()
    registry.root.unlink()
    registry.root.mkdir()
    registry.probe()


@pytest.mark.parametrize("selector", ["2", "canary", "sha256:" + "0" * 12])
def test_an_unknown_version_names_those_that_are_there(
    registry: FileRegistry, selector: str
) -> None:
    publish(registry)
    with pytest.raises(AdapterNotFound, match=r"there are 1 and the aliases \{'stable': 1\}"):
        registry.resolve(ref(f"ui-en-fr@{selector}"))


def test_a_digest_is_compared_to_its_end(registry: FileRegistry) -> None:
    digest = publish(registry).manifest.digest
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    with pytest.raises(AdapterNotFound):
        registry.resolve(ref(f"ui-en-fr@{other}"))


def test_junk_is_neither_id_nor_version(registry: FileRegistry, tmp_path: Path) -> None:
    published = publish(registry)
    versions = published.folder.parent
    (registry.root / "notes.txt").write_text("x")
    (registry.root / "lost+found").mkdir()
    (registry.root / "empty-en-fr").mkdir()
    (registry.root / "file-en-fr").write_text("x")
    (registry.root / "junk-en-fr" / "versions" / "latest").mkdir(parents=True)
    for name in (".draft-x", "0-0123456789ab", "2-xyz", "2-0123456789abc", "3", "x"):
        (versions / name).mkdir()
    (versions / "4-0123456789ab").write_text("a file")
    (versions / "5-0123456789ab").symlink_to(published.folder)

    assert registry.ids() == [UI]
    assert registry.numbers(UI) == [1]


@pytest.mark.parametrize("name", ["2-{}", "1-0123456789ab"])
def test_a_renamed_version_is_refused(registry: FileRegistry, name: str) -> None:
    published = publish(registry)
    moved = published.folder.rename(
        published.folder.with_name(name.format(published.manifest.digest12))
    )
    with pytest.raises(ManifestInvalid, match=r"renamed by hand.*publish"):
        registry.versions(UI)
    with pytest.raises(ManifestInvalid, match=moved.name):
        registry.resolve(ref(f"ui-en-fr@{name[0]}"))


def test_a_version_of_another_id_is_refused(registry: FileRegistry) -> None:
    published = publish(registry)
    home = registry.root / "docs-en-fr" / "versions"
    home.mkdir(parents=True)
    published.folder.rename(home / published.folder.name)
    with pytest.raises(ManifestInvalid, match="holds ui-en-fr"):
        registry.resolve(ref("docs-en-fr@1"))


def test_two_folders_of_one_number_are_an_error_not_a_choice(registry: FileRegistry) -> None:
    publish(registry)
    second = publish(registry, seed=1)
    second.folder.rename(second.folder.with_name(second.folder.name.replace("2-", "1-")))
    with pytest.raises(RegistryError, match="two folders claim one version number"):
        registry.resolve(ref("ui-en-fr@1"))
    assert registry.ids() == [UI]


def test_a_tampered_manifest_is_refused(registry: FileRegistry) -> None:
    path = publish(registry).folder / "manifest.json"
    path.write_text(path.read_text().replace("Apache-2.0", "MIT"))
    with pytest.raises(ManifestInvalid, match="digest says"):
        registry.resolve(ref("ui-en-fr"))


def test_a_manifest_cannot_send_the_registry_elsewhere(lora: Path) -> None:
    with pytest.raises(InvalidId):
        fakes.contract(lora, adapter_id="../../x-en-fr")
