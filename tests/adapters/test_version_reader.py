from __future__ import annotations

import time
from pathlib import Path

import pytest

from adapters import version_folder
from adapters.errors import ManifestInvalid
from adapters.registry import FileRegistry
from adapters.version_folder import Published, VersionReader
from tests.fakes import publish


@pytest.fixture
def version(registry: FileRegistry) -> Published:
    published = publish(registry)
    time.sleep(0.06)
    return published


def test_a_manifest_is_read_once_while_it_looks_the_same(
    version: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    whole = version_folder.read_version

    def counted(folder: Path) -> Published:
        read.append(folder)
        return whole(folder)

    monkeypatch.setattr(version_folder, "read_version", counted)
    reader = VersionReader()
    assert [reader(version.folder) for _ in range(5)] == [version] * 5
    assert len(read) == 1
    manifest = version.folder / "manifest.json"
    body = manifest.read_bytes()
    manifest.write_bytes(body.replace(b"ui", b"xx"))
    with pytest.raises(ManifestInvalid):
        reader(version.folder)
    manifest.unlink()
    with pytest.raises(ManifestInvalid):
        reader(version.folder)


def test_what_was_written_just_now_is_read_again(registry: FileRegistry) -> None:
    published, reader = publish(registry), VersionReader()
    reader(published.folder)
    assert not reader._read


def test_the_table_is_bounded(version: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_folder, "_MOST_READ", 0)
    reader = VersionReader()
    assert reader(version.folder) == version
    assert not reader._read
