"""One published version as a folder: found, read, and added by one atomic rename."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from adapters.aliases import fsync
from adapters.errors import ManifestInvalid, UnsafeFile
from adapters.manifest import MANIFEST_FILE, AdapterManifest
from adapters.verify import verify_adapter

_VERSION_RE: Final = re.compile(r"(?P<version>[1-9][0-9]{0,8})-[0-9a-f]{12}")
_DRAFT_PREFIX: Final = ".draft-"
_LAST_FILE: Final = ".last"
_COMPANIONS: Final = ("README.md", "report.html")
# Clocks of file systems tick every few milliseconds: two writes within a tick look the same.
_TICK_S: Final = 0.05
_MOST_READ: Final = 1000


@dataclass(frozen=True)
class Published:
    """One version: its contract and the folder that holds its files."""

    manifest: AdapterManifest
    folder: Path

    @property
    def name(self) -> str:
        """`id@digest12`: unique for ever, so it may name the weights inside the engine."""
        return f"{self.manifest.id}@{self.manifest.digest12}"


def find_versions(versions: Path) -> list[tuple[int, Path]]:
    """Return number and folder of every version; drafts, files, links and other names are none."""
    try:
        entries = list(versions.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        (int(match["version"]), entry)
        for entry in entries
        if (match := _VERSION_RE.fullmatch(entry.name))
        and entry.is_dir()
        and not entry.is_symlink()
    ]


def identity(folder: Path) -> str:
    """Return what tells this state of a folder's files from any other, without reading them.

    Empty if a file changed just now: the next change might look the same. Raises OSError.
    """
    with os.scandir(folder) as entries:
        stats = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    if any(time.time() - stat.st_ctime < _TICK_S for _, stat in stats):
        return ""
    facts = [(n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for n, s in stats]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def read_version(folder: Path) -> Published:
    """Return the version in `folder`. Raises ManifestInvalid, also where it was moved by hand."""
    if (folder / MANIFEST_FILE).is_symlink():
        # What is wrong with a manifest is quoted to clients: a link could show them any file.
        raise ManifestInvalid(f"{folder / MANIFEST_FILE}: a link; put the file itself there")
    manifest = AdapterManifest.read(folder)
    name = f"{manifest.id}/versions/{manifest.version}-{manifest.digest12}"
    if not folder.absolute().as_posix().endswith(f"/{name}"):
        raise ManifestInvalid(
            f"{folder}: holds {name}; versions are not moved or renamed by hand: publish it anew"
        )
    return Published(manifest, folder)


class VersionReader:
    """Reads a version once: manifests are large, and servers ask for a version's many times."""

    def __init__(self) -> None:
        self._read: OrderedDict[Path, tuple[tuple[int, ...], Published]] = OrderedDict()

    def __call__(self, folder: Path) -> Published:
        """Return the version in `folder`. Raises ManifestInvalid."""
        try:
            stat = os.lstat(folder / MANIFEST_FILE)
        except OSError:
            return read_version(folder)  # which says what is wrong
        look = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._read.get(folder)
        if known is not None and known[0] == look:
            return known[1]
        published = read_version(folder)
        if time.time() - stat.st_ctime > _TICK_S:
            self._read[folder] = look, published
            while len(self._read) > _MOST_READ:
                with suppress(KeyError):  # another thread was first
                    self._read.popitem(last=False)
        return published


def numbered(draft: AdapterManifest, *, version: int) -> AdapterManifest:
    """Return `draft` as that version, made now, with its digest."""
    manifest = draft.model_copy(update={"version": version, "created": datetime.now(UTC)})
    return manifest.model_copy(update={"digest": manifest.compute_digest()})


def add_version(versions: Path, manifest: AdapterManifest, folder: Path) -> Published:
    """Copy the adapter in `folder` into a draft, verify it there, and rename it into `versions`.

    Raises AdapterRejected; then, or if the process is killed, nothing becomes visible.
    """
    staged = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=versions))
    try:
        _copy(manifest, folder, staged)
        verify_adapter(staged, manifest)
        staged.chmod(0o755)
        fsync(staged)
        target = staged.rename(versions / f"{manifest.version}-{manifest.digest12}")
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    fsync(versions)
    return Published(manifest, target)


def last_number(versions: Path) -> int:
    """Return the highest version number ever given, also of versions that were removed."""
    numbers = [number for number, _ in find_versions(versions)]
    with suppress(OSError, ValueError):
        numbers.append(int((versions.parent / _LAST_FILE).read_text(encoding="utf-8")))
    return max(numbers, default=0)


def note_number(versions: Path, number: int) -> None:
    """Remember that `number` was given. Needs the adapter's lock."""
    draft = versions.parent / f"{_LAST_FILE}.draft"
    draft.write_text(f"{number}\n", encoding="utf-8")
    draft.replace(versions.parent / _LAST_FILE)


def remove_version(folder: Path) -> None:
    """Remove a version: for readers at once, by one rename. Needs the adapter's lock."""
    versions = folder.parent
    away = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=versions))
    folder.rename(away / folder.name)
    fsync(versions)
    # If this is killed, the next publisher removes what is left.
    shutil.rmtree(away, ignore_errors=True)


def remove_drafts(versions: Path) -> None:
    """Remove what killed publishers left. Needs the adapter's lock: then no draft is at work."""
    for draft in versions.glob(f"{_DRAFT_PREFIX}*"):
        shutil.rmtree(draft, ignore_errors=True)


def _copy(manifest: AdapterManifest, folder: Path, staged: Path) -> None:
    for name in _COMPANIONS:
        if (folder / name).is_symlink():
            # The manifest has no hash of them: a link would publish whatever it points to.
            raise UnsafeFile(f"{folder / name}: a link; put the file itself there, or remove it")
    for name in sorted({*manifest.weights.files, *_COMPANIONS}):
        if (folder / name).is_file():  # verify_adapter reports what is missing
            shutil.copyfile(folder / name, staged / name)
            fsync(staged / name)
    (staged / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    fsync(staged / MANIFEST_FILE)
