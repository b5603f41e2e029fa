"""The registry: immutable versions in content-addressed folders, names as pointers to them.

    <root>/<id>/versions/<n>-<digest12>/{manifest.json, adapter_config.json, …}
    <root>/<id>/aliases.json

A version appears by one rename of a whole, verified folder and never changes after that. Names
starting with `.` are drafts of publishers that are still at work, or were killed: readers ignore
them, the next publisher of the id removes them. Folders are found by name and must be folders:
files, links and other names are not versions.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from adapters.aliases import ALIASES_FILE, History, pointed, read_aliases, write_aliases
from adapters.errors import AdapterNotFound, AliasInvalid, InvalidId, RegistryError
from adapters.ids import STABLE, AdapterId, AdapterRef, is_alias
from adapters.manifest import AdapterManifest
from adapters.verify import verify_names
from adapters.version_folder import (
    Published,
    VersionReader,
    add_version,
    find_versions,
    last_number,
    note_number,
    numbered,
    read_version,
    remove_drafts,
    remove_version,
)

__all__ = ["FileRegistry", "Published", "Registry"]


class Registry(Protocol):
    """What training writes to and serving reads from."""

    def ids(self) -> list[AdapterId]:
        """Return every id that has a version, sorted."""
        ...

    def versions(self, adapter_id: AdapterId) -> list[Published]:
        """Return every version, oldest first. Raises AdapterNotFound, ManifestInvalid."""
        ...

    def numbers(self, adapter_id: AdapterId) -> list[int]:
        """Return the number of every version, oldest first, without reading them."""
        ...

    def aliases(self, adapter_id: AdapterId) -> dict[str, int]:
        """Return the version that each alias points to."""
        ...

    def stamp(self, adapter_id: AdapterId) -> object:
        """Return what differs once a version was published or an alias moved; cheap to ask."""
        ...

    def resolve(self, ref: AdapterRef) -> Published:
        """Return the version that `ref` means now. Raises AdapterNotFound, ManifestInvalid."""
        ...

    def probe(self) -> None:
        """Raise RegistryError unless the registry can be read now."""
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
    """A registry in a folder of a file system that has atomic rename and flock.

    Every method raises RegistryError where the file system refuses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read = VersionReader()

    def probe(self) -> None:
        """Raise RegistryError unless the root is a folder that can be read.

        To readers an absent root is an empty registry, since the first publishing makes it. Who
        has read from it before may want to know that it is gone.
        """
        with self._access("read"):
            next(self.root.iterdir(), None)

    def ids(self) -> list[AdapterId]:
        """Return every id that has a version, sorted."""
        with self._access("read"):
            names = [entry.name for entry in self.root.iterdir()] if self.root.is_dir() else []
        ids = [found for name in names if (found := _id_or_none(name)) is not None]
        return sorted(adapter_id for adapter_id in ids if self._entries(adapter_id))

    def numbers(self, adapter_id: AdapterId) -> list[int]:
        """Return the number of every version, oldest first, without reading them."""
        return sorted(self._folders(adapter_id))

    def versions(self, adapter_id: AdapterId) -> list[Published]:
        """Return every version, oldest first. Raises AdapterNotFound, ManifestInvalid."""
        return [read_version(folder) for _, folder in sorted(self._folders(adapter_id).items())]

    def aliases(self, adapter_id: AdapterId) -> dict[str, int]:
        """Return the version that each alias points to."""
        return {alias: history[-1] for alias, history in self._history(adapter_id).items()}

    def stamp(self, adapter_id: AdapterId) -> object:
        """Return what differs once a version was published or an alias moved; cheap to ask."""
        paths = (self._home(adapter_id) / ALIASES_FILE, self._versions(adapter_id))
        with self._access("read"):
            stats = [path.stat() if path.exists() else None for path in paths]
        return [stat and (stat.st_ino, stat.st_mtime_ns) for stat in stats]

    def resolve(self, ref: AdapterRef) -> Published:
        """Return the version that `ref` means now. Raises AdapterNotFound, ManifestInvalid."""
        folders = self._folders(ref.id)
        version = self._version_of(ref, folders)
        if version not in folders:
            raise AdapterNotFound(
                f"{ref}: no such version of {ref.id}; there are "
                f"{', '.join(map(str, sorted(folders)))} and the aliases "
                f"{self.aliases(ref.id) or 'none'}"
            )
        return self._read(folders[version])

    def publish(self, draft: AdapterManifest, folder: Path) -> Published:
        """Add the adapter in `folder` as the next version; equal content is the same version.

        The id's first version becomes `stable`; later ones wait for a promotion. Raises
        AdapterRejected, PromptInvalid; then, or if the process is killed, nothing becomes visible.
        """
        verify_names(draft.weights.files)
        for pair in draft.pairs:
            draft.prompt.frame(pair)
        with self._locked(draft.id):
            versions = self._versions(draft.id)
            remove_drafts(versions)
            folders = dict(self._entries(draft.id))
            manifest = numbered(draft, version=last_number(versions) + 1)
            for existing in folders.values():
                if existing.name.endswith(f"-{manifest.digest12}"):
                    return read_version(existing)
            published = add_version(versions, manifest, folder)
            note_number(versions, manifest.version)
            if not folders:
                self._point(draft.id, STABLE, manifest.version)
        return published

    def set_alias(self, adapter_id: AdapterId, alias: str, version: int) -> None:
        """Point `alias` to `version`. Raises AdapterNotFound, AliasInvalid, ManifestInvalid."""
        if not is_alias(alias):
            raise AliasInvalid(
                f"alias {alias[:80]!r}: expected lower-case letters, digits, '_', '.' and '-', "
                "such as 'canary'"
            )
        known = self._folders(adapter_id)
        if version not in known:
            raise AdapterNotFound(
                f"{adapter_id}: no version {version} to point {alias!r} to; there are "
                f"{', '.join(map(str, sorted(known)))}"
            )
        read_version(known[version])
        with self._locked(adapter_id):
            self._point(adapter_id, alias, version)

    def rollback(self, adapter_id: AdapterId) -> Published:
        """Point `stable` to what it pointed to before. Raises AdapterNotFound, AliasInvalid."""
        folders = self._folders(adapter_id)
        with self._locked(adapter_id):
            histories = self._history(adapter_id)
            # Not reading the version that is left: that it is broken may be the very reason.
            history = histories[STABLE][:-1]
            while history and history[-1] not in folders:
                history.pop()
            if not history:
                raise AliasInvalid(
                    f"{adapter_id}: stable has not pointed to another version that is still there; "
                    f"use `dragoman adapters promote {adapter_id}@VERSION`"
                )
            published = read_version(folders[history[-1]])
            write_aliases(self._home(adapter_id), {**histories, STABLE: history})
        return published

    def remove(self, adapter_id: AdapterId, version: int, *, force: bool = False) -> None:
        """Remove a version from the disk; servers that are using it finish what they began.

        Its number is never given again. Raises AdapterNotFound, and AliasInvalid for a version
        that a name points to, unless `force`: then the name points to nothing until it is moved.
        """
        ref = AdapterRef(adapter_id, str(version))
        with self._locked(adapter_id):
            folders = self._folders(adapter_id)
            if version not in folders:
                raise AdapterNotFound(f"{ref}: no such version; there are {sorted(folders)}")
            names = sorted(a for a, number in self.aliases(adapter_id).items() if number == version)
            if names and not force:
                raise AliasInvalid(
                    f"{ref}: {', '.join(names)} points to it; promote another version first, or "
                    "remove it with --force and leave these names pointing to nothing"
                )
            note_number(self._versions(adapter_id), last_number(self._versions(adapter_id)))
            remove_version(folders[version])

    def _home(self, adapter_id: AdapterId) -> Path:
        return self.root / str(adapter_id)

    def _versions(self, adapter_id: AdapterId) -> Path:
        return self._home(adapter_id) / "versions"

    def _entries(self, adapter_id: AdapterId) -> list[tuple[int, Path]]:
        with self._access("read"):
            return find_versions(self._versions(adapter_id))

    def _folders(self, adapter_id: AdapterId) -> dict[int, Path]:
        """Return the folder of each version. Raises AdapterNotFound if there is none."""
        entries = self._entries(adapter_id)
        folders = dict(entries)
        if not folders:
            raise self._unknown(str(adapter_id))
        if len(folders) < len(entries):
            names = ", ".join(sorted(entry.name for _, entry in entries))
            raise RegistryError(
                f"{self._versions(adapter_id)}: two folders claim one version number ({names}); "
                "versions are not copied by hand: move one away and publish it"
            )
        return folders

    def _version_of(self, ref: AdapterRef, folders: dict[int, Path]) -> int | None:
        if ref.version is not None:
            return ref.version
        if ref.digest is None:
            return self.aliases(ref.id).get(ref.selector)
        digest12 = ref.digest.removeprefix("sha256:")[:12]
        for version, folder in folders.items():
            if folder.name.endswith(f"-{digest12}") and read_version(
                folder
            ).manifest.digest.startswith(ref.digest):
                return version
        return None

    def _unknown(self, name: str) -> AdapterNotFound:
        known = [str(adapter_id) for adapter_id in self.ids()]
        nearest = get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        hint = f"nearest: {', '.join(nearest)}" if nearest else "the registry is empty"
        return AdapterNotFound(f"adapter {name!r} does not exist; {hint}")

    def _history(self, adapter_id: AdapterId) -> History:
        histories = read_aliases(self._home(adapter_id))
        if STABLE not in histories and (entries := self._entries(adapter_id)):
            # A publisher killed between its rename and the alias, or a lost file: the first
            # version is stable until another is promoted.
            histories[STABLE] = [min(number for number, _ in entries)]
        return histories

    def _point(self, adapter_id: AdapterId, alias: str, version: int) -> None:
        histories = pointed(self._history(adapter_id), alias, version)
        write_aliases(self._home(adapter_id), histories)

    @contextmanager
    def _locked(self, adapter_id: AdapterId) -> Iterator[None]:
        with self._access("written"):
            self._versions(adapter_id).mkdir(parents=True, exist_ok=True)
            with (self._home(adapter_id) / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

    @contextmanager
    def _access(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RegistryError(
                f"{error.filename or self.root}: cannot be {verb} ({error.strerror or error}); the "
                f"registry is {self.root}: check its rights and free space, or name another with "
                "--registry or DRAGOMAN_REGISTRY"
            ) from error


def _id_or_none(name: str) -> AdapterId | None:
    try:
        return AdapterId.parse(name)
    except InvalidId:
        return None
