from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterNotFound,
    AliasInvalid,
    FileCorrupt,
    InvalidId,
    ManifestInvalid,
    PromptInvalid,
    RegistryError,
    UnsafeFile,
)
from adapters.ids import AdapterId, AdapterRef
from adapters.manifest import FileHash
from adapters.registry import FileRegistry, Published
from tests import fakes

UI = AdapterId.parse("ui-en-fr")


def ref(text: str) -> AdapterRef:
    return AdapterRef.parse(text)


def publish(registry: FileRegistry, *, seed: int = 0, adapter_id: str = "ui-en-fr") -> Published:
    folder = fakes.write_lora(registry.root.parent / f"lora-{seed}", seed=seed)
    return registry.publish(fakes.contract(folder, adapter_id=adapter_id), folder)


def visible(registry: FileRegistry) -> list[str]:
    return sorted(p.name for p in registry.root.glob("*/versions/*"))


# Publishing


def test_a_published_version_is_found_by_every_name(registry: FileRegistry) -> None:
    published = publish(registry)
    digest = published.manifest.digest
    for name in ("ui-en-fr", "ui-en-fr@1", "ui-en-fr@stable", f"ui-en-fr@{digest}"):
        assert registry.resolve(ref(name)) == published
    assert registry.resolve(ref(f"ui-en-fr@{digest[:19]}")) == published
    assert published.folder.name == f"1-{published.manifest.digest12}"
    assert published.name == f"ui-en-fr@{published.manifest.digest12}"
    assert registry.versions(UI) == [published]
    assert registry.numbers(UI) == [1]
    assert registry.ids() == [UI]


def test_a_version_holds_the_files_the_companions_and_nothing_else(
    registry: FileRegistry, lora: Path
) -> None:
    for name in ("README.md", "report.html", "training_args.bin", "notes.txt", "manifest.json"):
        (lora / name).write_text(name)
    folder = registry.publish(fakes.contract(lora), lora).folder
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "report.html",
    ]
    assert json.loads((folder / "manifest.json").read_text())["id"] == "ui-en-fr"
    assert folder.stat().st_mode & 0o777 == 0o755


def test_number_time_and_digest_are_the_registrys(registry: FileRegistry, lora: Path) -> None:
    draft = fakes.contract(lora, version=77)
    manifest = registry.publish(draft, lora).manifest
    assert manifest.version == 1
    assert manifest.created > draft.created
    assert manifest.digest == manifest.compute_digest()


def test_stable_is_the_first_version_until_another_is_promoted(registry: FileRegistry) -> None:
    publish(registry)
    second = publish(registry, seed=1)
    assert second.manifest.version == 2
    assert registry.resolve(ref("ui-en-fr")).manifest.version == 1
    registry.set_alias(UI, "stable", 2)
    assert registry.resolve(ref("ui-en-fr")) == second
    publish(registry, seed=2)
    assert registry.resolve(ref("ui-en-fr")) == second


def test_equal_content_is_the_same_version(registry: FileRegistry) -> None:
    first, again = publish(registry), publish(registry)
    assert again == first
    assert len(visible(registry)) == 1
    publish(registry, seed=1)
    assert publish(registry) == first
    assert len(visible(registry)) == 2


def test_ids_do_not_share_versions(registry: FileRegistry) -> None:
    publish(registry)
    other = publish(registry, adapter_id="docs-en-fr")
    assert other.manifest.version == 1
    assert [str(i) for i in registry.ids()] == ["docs-en-fr", "ui-en-fr"]


def test_a_rejected_folder_leaves_nothing(registry: FileRegistry, lora: Path) -> None:
    draft = fakes.contract(lora)
    (lora / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(FileCorrupt):
        registry.publish(draft, lora)
    assert visible(registry) == []
    assert registry.ids() == []
    assert publish(registry).manifest.version == 1


def test_a_prompt_that_cannot_be_rendered_is_not_published(
    registry: FileRegistry, lora: Path
) -> None:
    draft = fakes.contract(lora, prompt=fakes.prompt_format(chat_template="nothing"))
    with pytest.raises(PromptInvalid, match="exactly once"):
        registry.publish(draft, lora)
    assert not registry.root.exists()


def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_copied(
    registry: FileRegistry, lora: Path, tmp_path: Path
) -> None:
    # Copied before it is verified, this would overwrite the aliases of its id.
    (tmp_path / "aliases.json").write_text("evil")
    draft = fakes.contract(lora)
    evil = "../../aliases.json"
    files = {**draft.weights.files, evil: FileHash(sha256="0" * 64, size_bytes=4)}
    weights = draft.weights.model_copy(update={"files": files})
    (lora.parent / "x").mkdir()
    with pytest.raises(UnsafeFile, match="no name for a file"):
        registry.publish(draft.model_copy(update={"weights": weights}), lora)
    assert not registry.root.exists()


def test_a_linked_companion_publishes_nothing_it_points_to(
    registry: FileRegistry, lora: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    (lora / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFile, match=r"README\.md: a link"):
        registry.publish(fakes.contract(lora), lora)
    assert visible(registry) == []


def test_linked_weights_are_published_as_files(
    registry: FileRegistry, lora: Path, tmp_path: Path
) -> None:
    # A snapshot of the hub's cache consists of links; their content is hashed like any other.
    (lora / "adapter_model.safetensors").rename(tmp_path / "blob")
    (lora / "adapter_model.safetensors").symlink_to(tmp_path / "blob")
    folder = registry.publish(fakes.contract(lora), lora).folder
    assert not (folder / "adapter_model.safetensors").is_symlink()


def test_a_file_changed_while_it_was_copied_is_refused(registry: FileRegistry, lora: Path) -> None:
    draft = fakes.contract(lora)
    fakes.write_lora(lora, seed=9)
    with pytest.raises(FileCorrupt, match="expected sha256"):
        registry.publish(draft, lora)
    assert visible(registry) == []


# Names


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


# What is not there, or not as it should be


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


# A file system that refuses


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_registry_without_rights_is_an_error_with_the_next_step(
    registry: FileRegistry,
) -> None:
    publish(registry)
    (registry.root / "ui-en-fr" / "versions").chmod(0o555)
    with pytest.raises(RegistryError, match="DRAGOMAN_REGISTRY"):
        publish(registry, seed=1)


def test_a_registry_below_a_file_is_an_error_with_the_next_step(tmp_path: Path, lora: Path) -> None:
    (tmp_path / "file").write_text("x")
    registry = FileRegistry(tmp_path / "file" / "registry")
    with pytest.raises(RegistryError, match=r"cannot be written.*--registry") as caught:
        registry.publish(fakes.contract(lora), lora)
    assert "\n" not in str(caught.value)
    assert registry.ids() == []


def test_a_full_disk_leaves_no_version(
    registry: FileRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.version_folder.shutil.copyfile", full)
    with pytest.raises(RegistryError, match=r"No space left on device.*free space"):
        publish(registry)
    assert visible(registry) == []
