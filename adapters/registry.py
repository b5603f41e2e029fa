"""The registry: immutable versions in content-addressed folders, names as pointers to them.

    <root>/<id>/versions/<n>-<digest12>/{manifest.json, adapter_config.json, …}
    <root>/<id>/aliases.json

A version appears by one rename of a whole, verified folder and never changes after that. Names
starting with `.` are drafts of publishers that are still at work, or were killed: readers ignore
them, the next publisher of the id removes them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Protocol

from adapters.errors import AdapterNotFound, AliasInvalid, InvalidId, ManifestInvalid, RegistryError
from adapters.ids import STABLE, AdapterId, AdapterRef, is_alias
from adapters.manifest import MANIFEST_FILE, AdapterManifest
from adapters.verify import verify_adapter

_VERSION_RE: Final = re.compile(r"(?P<version>[1-9][0-9]*)-(?P<digest12>[0-9a-f]{12})")
_COMPANIONS: Final = ("README.md", "report.html")
_ALIASES_FILE: Final = "aliases.json"


@dataclass(frozen=True)
class Published:
    """One version: its contract and the folder that holds its files."""

    manifest: AdapterManifest
    folder: Path

    @property
    def name(self) -> str:
        """`id@digest12`: unique for ever, so it may name the weights inside the engine."""
        return f"{self.manifest.id}@{self.manifest.digest12}"


class Registry(Protocol):
    """What training writes to and serving reads from."""

    def ids(self) -> list[AdapterId]:
        """Return every id that has a version, sorted."""
        ...

    def versions(self, adapter_id: AdapterId) -> list[Published]:
        """Return every version, oldest first. Raises AdapterNotFound, ManifestInvalid."""
        ...

    def aliases(self, adapter_id: AdapterId) -> dict[str, int]:
        """Return the version that each alias points to."""
        ...

    def resolve(self, ref: AdapterRef) -> Published:
        """Return the version that `ref` means now. Raises AdapterNotFound, ManifestInvalid."""
        ...

    def publish(self, draft: AdapterManifest, folder: Path) -> Published:
        """Add the adapter in `folder` as the next version. Raises AdapterRejected."""
        ...

    def set_alias(self, adapter_id: AdapterId, alias: str, version: int) -> None:
        """Point `alias` to `version`. Raises AdapterNotFound, AliasInvalid."""
        ...

    def rollback(self, adapter_id: AdapterId) -> Published:
        """Point `stable` to what it pointed to before. Raises AliasInvalid."""
        ...


class FileRegistry:
    """A registry in a folder of a file system that has atomic rename and flock."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ids(self) -> list[AdapterId]:
        """Return every id that has a version, sorted."""
        found = []
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            try:
                adapter_id = AdapterId.parse(entry.name)
            except InvalidId:
                continue
            if self._folders(adapter_id):
                found.append(adapter_id)
        return sorted(found, key=str)

    def versions(self, adapter_id: AdapterId) -> list[Published]:
        """Return every version, oldest first. Raises AdapterNotFound, ManifestInvalid."""
        folders = self._folders(adapter_id)
        if not folders:
            raise self._unknown(str(adapter_id))
        return [_read(folder) for _, folder in sorted(folders.items())]

    def aliases(self, adapter_id: AdapterId) -> dict[str, int]:
        """Return the version that each alias points to."""
        return {alias: history[-1] for alias, history in self._history(adapter_id).items()}

    def resolve(self, ref: AdapterRef) -> Published:
        """Return the version that `ref` means now. Raises AdapterNotFound, ManifestInvalid."""
        folders = self._folders(ref.id)
        if not folders:
            raise self._unknown(str(ref.id))
        version = self._version_of(ref, folders)
        if version not in folders:
            raise AdapterNotFound(
                f"{ref}: no such version of {ref.id}; there are "
                f"{', '.join(map(str, sorted(folders)))} and the aliases "
                f"{self.aliases(ref.id) or 'none'}"
            )
        return _read(folders[version])

    def publish(self, draft: AdapterManifest, folder: Path) -> Published:
        """Add the adapter in `folder` as the next version; equal content is the same version.

        The id's first version becomes `stable`; later ones wait for a promotion. Raises
        AdapterRejected; then, or if the process is killed, nothing becomes visible.
        """
        adapter_id = draft.id
        with self._locked(adapter_id):
            self._remove_drafts(adapter_id)
            folders = self._folders(adapter_id)
            manifest = _numbered(draft, version=max(folders, default=0) + 1)
            for existing in folders.values():
                if existing.name.endswith(f"-{manifest.digest12}"):
                    return _read(existing)
            target = self._versions(adapter_id) / f"{manifest.version}-{manifest.digest12}"
            staged = Path(tempfile.mkdtemp(prefix=".draft-", dir=self._versions(adapter_id)))
            try:
                _copy(manifest, folder, staged)
                verify_adapter(staged, manifest)
                staged.chmod(0o755)
                staged.rename(target)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            _fsync(target.parent)
            if STABLE not in self._history(adapter_id):
                self._point(adapter_id, STABLE, manifest.version)
        return Published(manifest, target)

    def set_alias(self, adapter_id: AdapterId, alias: str, version: int) -> None:
        """Point `alias` to `version`. Raises AdapterNotFound, AliasInvalid."""
        if not is_alias(alias):
            raise AliasInvalid(f"alias {alias!r}: expected lower-case letters, such as 'canary'")
        self.resolve(AdapterRef(adapter_id, str(version)))
        with self._locked(adapter_id):
            self._point(adapter_id, alias, version)

    def rollback(self, adapter_id: AdapterId) -> Published:
        """Point `stable` to what it pointed to before. Raises AliasInvalid."""
        self.resolve(AdapterRef(adapter_id))
        with self._locked(adapter_id):
            histories = self._history(adapter_id)
            history = histories.get(STABLE, [])
            if len(history) < 2:
                raise AliasInvalid(
                    f"{adapter_id}: stable never pointed to another version; "
                    f"use `dragoman adapters promote {adapter_id}@VERSION`"
                )
            self._write_aliases(adapter_id, {**histories, STABLE: history[:-1]})
        return self.resolve(AdapterRef(adapter_id))

    def _versions(self, adapter_id: AdapterId) -> Path:
        return self.root / str(adapter_id) / "versions"

    def _folders(self, adapter_id: AdapterId) -> dict[int, Path]:
        folders = {}
        try:
            entries = list(self._versions(adapter_id).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        for entry in entries:
            if match := _VERSION_RE.fullmatch(entry.name):
                folders[int(match["version"])] = entry
        return folders

    def _version_of(self, ref: AdapterRef, folders: dict[int, Path]) -> int | None:
        if ref.version is not None:
            return ref.version
        if ref.digest is not None:
            start = ref.digest.removeprefix("sha256:")
            matches = [v for v, f in folders.items() if f.name.split("-")[1] == start[:12]]
            return next((v for v in matches if _read(folders[v]).manifest.digest.startswith(ref.digest)), None)
        return self.aliases(ref.id).get(ref.selector)

    def _unknown(self, name: str) -> AdapterNotFound:
        known = [str(adapter_id) for adapter_id in self.ids()]
        nearest = get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        hint = f"nearest: {', '.join(nearest)}" if nearest else "the registry is empty"
        return AdapterNotFound(f"adapter {name!r} does not exist; {hint}")

    def _history(self, adapter_id: AdapterId) -> dict[str, list[int]]:
        path = self.root / str(adapter_id) / _ALIASES_FILE
        try:
            body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {alias: [int(v) for v in history] for alias, history in body.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise RegistryError(
                f"{path}: cannot be read ({error}); expected {{alias: [versions, newest last]}}"
            ) from error

    def _point(self, adapter_id: AdapterId, alias: str, version: int) -> None:
        histories = self._history(adapter_id)
        history = histories.get(alias, [])
        if history[-1:] != [version]:
            self._write_aliases(adapter_id, {**histories, alias: [*history, version]})

    def _write_aliases(self, adapter_id: AdapterId, histories: dict[str, list[int]]) -> None:
        path = self.root / str(adapter_id) / _ALIASES_FILE
        draft = path.with_name(f".{_ALIASES_FILE}.{os.getpid()}")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(histories, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _fsync(path.parent)

    @contextmanager
    def _locked(self, adapter_id: AdapterId) -> Iterator[None]:
        self._versions(adapter_id).mkdir(parents=True, exist_ok=True)
        with (self.root / str(adapter_id) / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _remove_drafts(self, adapter_id: AdapterId) -> None:
        # The lock is ours, so whoever made these is gone.
        for draft in self._versions(adapter_id).glob(".draft-*"):
            shutil.rmtree(draft, ignore_errors=True)


def _numbered(draft: AdapterManifest, *, version: int) -> AdapterManifest:
    manifest = draft.model_copy(update={"version": version, "created": datetime.now(UTC)})
    return manifest.model_copy(update={"digest": manifest.compute_digest()})


def _copy(manifest: AdapterManifest, folder: Path, staged: Path) -> None:
    names = [*manifest.weights.files, *(n for n in _COMPANIONS if (folder / n).is_file())]
    for name in names:
        if (folder / name).is_file():  # verify_adapter reports what is missing
            shutil.copyfile(folder / name, staged / name)
            _fsync(staged / name)
    (staged / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    _fsync(staged / MANIFEST_FILE)


def _read(folder: Path) -> Published:
    manifest = AdapterManifest.read(folder)
    if folder.name != f"{manifest.version}-{manifest.digest12}":
        raise ManifestInvalid(
            f"{folder}: holds version {manifest.version} of digest {manifest.digest12}; "
            "versions are not moved or renamed by hand"
        )
    return Published(manifest, folder)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
