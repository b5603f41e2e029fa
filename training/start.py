"""The adapter that a recipe goes on from: a folder, or a version in the registry."""

from __future__ import annotations

from pathlib import Path

from adapters.base_model import BaseModelRef
from adapters.errors import AdapterNotFound, BaseModelMismatch, InvalidId, RecipeInvalid
from adapters.ids import AdapterRef
from adapters.manifest import CONFIG_FILE
from adapters.registry import Registry


def find_start(name: str, folder: Path, registry: Registry, base: BaseModelRef) -> Path:
    """Return the folder of adapter `name`, a path from `folder` or such as `ui-en-fr@3`.

    Raises RecipeInvalid if there is none, BaseModelMismatch if it is of another base.
    """
    path = folder / Path(name).expanduser()
    if (path / CONFIG_FILE).is_file():
        return path
    try:
        published = registry.resolve(AdapterRef.parse(name))
    except (AdapterNotFound, InvalidId) as error:
        raise RecipeInvalid(
            f"{name}: no adapter to start from: there is no {path / CONFIG_FILE}, and the registry "
            f"says: {error}"
        ) from error
    manifest = published.manifest
    if manifest.base.fingerprint != base.fingerprint:
        raise BaseModelMismatch(
            f"{name} was trained on {manifest.base}, this recipe trains on {base}; "
            "name an adapter of that base, or train without a start"
        )
    return published.folder
