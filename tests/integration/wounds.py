"""Versions in a registry as only a fault or an attacker could put them there: past `publish`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, AdapterManifest, hash_files
from tests import fakes

Wound = Callable[[Path], object]


@dataclass(frozen=True)
class Fault:
    """What is done to a sound version, and how a request for it must be answered.

    `wound` hurts the folder before the manifest is signed anew; `rehash` makes its hashes fit, as
    an attacker would; `after` hurts the signed folder; `changes` go into the manifest.
    """

    name: str
    status: int
    code: str
    says: str
    wound: Wound = lambda _: None
    rehash: bool = False
    after: Wound = lambda _: None
    changes: dict[str, Any] = field(default_factory=dict)


def publish_as(
    source: Path, root: Path, name: str, fault: Fault | None = None, *, keep: bool = False
) -> Path:
    """Copy the version in `source` into registry `root` as stable version 1 of `name`.

    What `name` had before goes away, unless `keep`.
    """
    home = root / name
    if not keep:
        shutil.rmtree(home, ignore_errors=True)
    folder = home / "versions" / "draft"
    shutil.copytree(source, folder)
    if fault is not None:
        fault.wound(folder)
    signed = _sign(folder, name, fault)
    (home / "aliases.json").write_text(json.dumps({"stable": [1]}))
    if fault is not None:
        fault.after(signed)
    return signed


def _sign(folder: Path, name: str, fault: Fault | None) -> Path:
    body = json.loads((folder / MANIFEST_FILE).read_text())
    body |= {"id": name, "domain": name.partition("-")[0], "version": 1, "digest": ""}
    for key, value in (fault.changes if fault else {}).items():
        body[key] = {**body[key], **value} if isinstance(value, dict) else value
    manifest = AdapterManifest.model_validate_json(json.dumps(body))
    if fault is not None and fault.rehash:
        weights = manifest.weights.model_copy(update={"files": hash_files(folder)})
        manifest = manifest.model_copy(update={"weights": weights})
    manifest = manifest.model_copy(update={"digest": manifest.compute_digest()})
    (folder / MANIFEST_FILE).write_text(manifest.to_json())
    return folder.rename(folder.with_name(f"{manifest.version}-{manifest.digest12}"))


def truncate(name: str, size_bytes: int) -> Wound:
    """Return a wound that leaves the first bytes of a file, or a hole of that size behind them."""

    def wound(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(size_bytes)

    return wound


def flip_last_byte(folder: Path) -> None:
    """Change one byte of the weights."""
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)


def write_rank(rank: int, *, value: float = 0.0) -> Wound:
    """Return a wound that puts a LoRA of another rank into the folder, on one module of Gemma."""
    module = "model.layers.0.self_attn.q_proj"

    def wound(folder: Path) -> None:
        tensors = {
            f"base_model.model.{module}.lora_A.weight": np.full((rank, 640), value),
            f"base_model.model.{module}.lora_B.weight": np.full((1024, rank), value),
        }
        fakes.write_tensors(folder / WEIGHTS_FILE, tensors)
        config = json.loads((folder / CONFIG_FILE).read_text())
        fakes.write_json(folder / CONFIG_FILE, {**config, "r": rank, "target_modules": ["q_proj"]})

    return wound


def pad_config(size_bytes: int) -> Wound:
    """Return a wound that makes the config that large, and still right."""

    def wound(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text())
        fakes.write_json(folder / CONFIG_FILE, {**config, "note": "x" * size_bytes})

    return wound


def link_out(name: str) -> Wound:
    """Return a wound that moves a file out of the folder and leaves a link to it."""

    def wound(folder: Path) -> None:
        outside = folder.parent.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return wound


def link_folder(folder: Path) -> None:
    """Move the version's folder away and leave a link to it."""
    folder.symlink_to(folder.rename(folder.parent.parent / "outside"))


def rewrite_manifest(**changes: Any) -> Wound:
    """Return a wound that changes the signed manifest."""

    def wound(folder: Path) -> None:
        body = json.loads((folder / MANIFEST_FILE).read_text())
        (folder / MANIFEST_FILE).write_text(json.dumps({**body, **changes}))

    return wound
