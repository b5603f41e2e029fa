from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapters.errors import AdapterNotFound, AliasInvalid
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry, Published
from tests import fakes
from tests.adapters.ran import Run

UI = AdapterId.parse("ui-en-fr")


@pytest.fixture
def three(registry: FileRegistry, tmp_path: Path) -> list[Published]:
    return [publish(registry, tmp_path, seed) for seed in range(3)]


def publish(registry: FileRegistry, tmp_path: Path, seed: int) -> Published:
    folder = fakes.write_lora(tmp_path / f"lora-{seed}", seed=seed)
    return registry.publish(fakes.contract(folder), folder)


def test_a_removed_version_is_gone_and_its_number_is_never_given_again(
    registry: FileRegistry, three: list[Published], tmp_path: Path
) -> None:
    registry.remove(UI, 3)
    assert registry.numbers(UI) == [1, 2]
    left = {path.name for path in three[0].folder.parent.iterdir()}
    assert left == {published.folder.name for published in three[:2]}
    with pytest.raises(AdapterNotFound, match="no such version"):
        registry.remove(UI, 3)
    assert publish(registry, tmp_path, seed=2).manifest.version == 4


def test_the_number_of_a_version_removed_by_hand_is_not_given_again(
    registry: FileRegistry, three: list[Published], tmp_path: Path
) -> None:
    shutil.rmtree(three[2].folder)
    assert publish(registry, tmp_path, seed=3).manifest.version == 4


def test_a_version_that_a_name_points_to_is_removed_by_force_only(
    registry: FileRegistry, three: list[Published]
) -> None:
    registry.set_alias(UI, "canary", 1)
    with pytest.raises(AliasInvalid, match=r"canary, stable points to it.*--force"):
        registry.remove(UI, 1)
    assert registry.resolve(AdapterRef(UI)) == three[0]
    registry.remove(UI, 1, force=True)
    with pytest.raises(AdapterNotFound, match="no such version"):
        registry.resolve(AdapterRef(UI))
    registry.set_alias(UI, "stable", 2)
    assert registry.resolve(AdapterRef(UI)) == three[1]


def test_a_broken_version_can_be_removed(registry: FileRegistry, three: list[Published]) -> None:
    (three[1].folder / "manifest.json").write_text("{")
    registry.remove(UI, 2)
    assert registry.numbers(UI) == [1, 3]


def test_what_a_killed_removal_left_is_cleared_by_the_next_publisher(
    registry: FileRegistry,
    three: list[Published],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        registry.remove(UI, 2)
    versions = three[0].folder.parent
    assert len(list(versions.iterdir())) == 3
    assert registry.numbers(UI) == [1, 3]
    publish(registry, tmp_path, seed=5)
    assert {path.name[:2] for path in versions.iterdir()} == {"1-", "3-", "4-"}


def test_the_command_removes_a_version_that_is_named_exactly(
    run: Run, registry: FileRegistry, three: list[Published]
) -> None:
    assert run("remove", "ui-en-fr").code == 2
    assert run("remove", "ui-en-fr@stable").code == 2
    assert run("remove", "ui-en-fr@1").code == 1
    assert run("remove", "ui-en-fr@2", "--json").json == {"id": "ui-en-fr", "version": 2}
    assert run("remove", "ui-en-fr@1", "--force").code == 0
    assert registry.numbers(UI) == [3]
