"""One published version as a folder: found, read, and added by one atomic rename."""

from __future__ import annotations

import re
import shutil
import tempfile
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
_COMPANIONS: Final = ("README.md", "report.html")


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


def read_version(folder: Path) -> Published:
    """Return the version in `folder`. Raises ManifestInvalid, also where it was moved by hand."""
    manifest = AdapterManifest.read(folder)
    name = f"{manifest.id}/versions/{manifest.version}-{manifest.digest12}"
    if not folder.absolute().as_posix().endswith(f"/{name}"):
        raise ManifestInvalid(
            f"{folder}: holds {name}; versions are not moved or renamed by hand: publish it anew"
        )
    return Published(manifest, folder)


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
