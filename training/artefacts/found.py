"""The adapter that a command names, its base, and an output folder that is whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.base_model import BaseModelRef
from adapters.errors import BaseModelMismatch, BaseModelNotFound, FileMissing
from adapters.ids import AdapterRef
from adapters.locations import bases_root
from adapters.manifest import CONFIG_FILE, MANIFEST_FILE, AdapterManifest
from adapters.registry import Registry


@dataclass(frozen=True)
class Found:
    """An adapter's folder, with its contract if it has one."""

    folder: Path
    manifest: AdapterManifest | None

    @property
    def name(self) -> str:
        """A name for files and models: the id, or the folder's."""
        return str(self.manifest.id) if self.manifest else self.folder.resolve().name


def find(adapter: str, registry: Registry) -> Found:
    """Return the adapter in the folder of that path, or the registry's of that name."""
    folder = Path(adapter).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise FileMissing(f"{folder}: no {CONFIG_FILE}; expected a PEFT adapter folder")
        has_contract = (folder / MANIFEST_FILE).is_file()
        return Found(folder, AdapterManifest.read_draft(folder) if has_contract else None)
    published = registry.resolve(AdapterRef.parse(adapter))
    return Found(published.folder, published.manifest)


def base_of(found: Found, base: str | None) -> Path:
    """Return the folder of the adapter's base; `base` is its name or folder, if given.

    Raises BaseModelNotFound, BaseModelMismatch.
    """
    named = base or (found.manifest.base.name if found.manifest else _named_base(found.folder))
    candidates = [Path(named).expanduser(), bases_root() / named, bases_root() / Path(named).name]
    folder = next((c for c in candidates if named and (c / "config.json").is_file()), None)
    if folder is None:
        raise BaseModelNotFound(
            f"{found.name}: its base {named!r} is not on this machine; fetch it (`dragoman base "
            "fetch`), or say which folder it is with --base"
        )
    if found.manifest is not None:
        here = BaseModelRef.read(folder)
        if here.fingerprint != found.manifest.base.fingerprint:
            raise BaseModelMismatch(
                f"{found.name} was trained on {found.manifest.base}, {folder} is {here}; "
                "name its own base with --base"
            )
    return folder


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes `out` if nothing fails; another's files are never replaced."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: is there already; remove it, or use another --out")
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if out.exists():
        out.rmdir()
    draft.rename(out)


def _named_base(folder: Path) -> str:
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return str(config.get("base_model_name_or_path") or "")
