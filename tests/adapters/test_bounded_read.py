from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.aliases import read_aliases
from adapters.bounded_read import SMALL_BYTES, read_small
from adapters.errors import AdapterRejected, ManifestInvalid, RegistryError
from adapters.manifest import AdapterManifest
from adapters.verify import read_peft_config
from adapters.version_folder import read_version
from tests import fakes

READERS = {
    "manifest.json": (AdapterManifest.read_draft, ManifestInvalid),
    "adapter_config.json": (read_peft_config, AdapterRejected),
    "aliases.json": (read_aliases, RegistryError),
}


def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert read_small(path, limit_bytes=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_small(path, limit_bytes=4)


@pytest.mark.parametrize("name", READERS)
def test_a_huge_file_is_refused_without_being_read(name: str, tmp_path: Path) -> None:
    read, error = READERS[name]
    with (tmp_path / name).open("wb") as file:
        file.truncate(10 * 2**30)  # a hole: it takes no space, but reading it would take memory
    with pytest.raises(error, match=f"larger than {SMALL_BYTES} bytes"):
        read(tmp_path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.timeout(5)
def test_a_pipe_makes_no_reader_wait(name: str, tmp_path: Path) -> None:
    read, error = READERS[name]
    os.mkfifo(tmp_path / name)
    with pytest.raises(error, match="not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_an_empty_file_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    read, error = READERS[name]
    (tmp_path / name).touch()
    with pytest.raises(error, match=name):
        read(tmp_path)


def test_a_manifest_that_is_a_link_shows_nothing_of_its_target(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "v")
    (tmp_path / "secret").write_text("hush:x:0:0")
    (folder / "manifest.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ManifestInvalid, match="a link") as caught:
        read_version(folder)
    assert "hush" not in str(caught.value)
