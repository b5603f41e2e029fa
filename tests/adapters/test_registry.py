from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapters.errors import (
    FileCorrupt,
    PromptInvalid,
    RegistryError,
    UnsafeFile,
)
from adapters.ids import AdapterId, AdapterRef
from adapters.manifest import FileHash
from adapters.registry import FileRegistry
from tests import fakes
from tests.fakes import publish

UI = AdapterId.parse("ui-en-fr")


def ref(text: str) -> AdapterRef:
    return AdapterRef.parse(text)


def visible(registry: FileRegistry) -> list[str]:
    return sorted(p.name for p in registry.root.glob("*/versions/*"))


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
