"""Which base model an adapter belongs to: a name for people, a fingerprint for machines."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from adapters.errors import BaseModelNotFound

CARD_FILE: Final = "dragoman-base.json"
_CACHE_FILE: Final = ".dragoman-fingerprint.json"
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
# What transformers writes into config.json without changing what the model computes.
_CONFIG_NOISE: Final = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


class BaseModelRef(BaseModel):
    """A base model: adapters fit where the fingerprints are equal, whatever the name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    revision: str | None = None
    fingerprint: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    vocab_size: int = Field(gt=0)

    @classmethod
    def read(cls, folder: Path) -> BaseModelRef:
        """Return the reference of the model in `folder`. Raises BaseModelNotFound."""
        config = read_config(folder)
        card = read_card(folder)
        return cls(
            name=str(card.get("name") or folder.name),
            revision=card.get("revision"),
            fingerprint=fingerprint(folder),
            vocab_size=int(config.get("vocab_size") or config["text_config"]["vocab_size"]),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:19]})"


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of the model in `folder`. Raises BaseModelNotFound."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelNotFound(
            f"{folder}: not a base model folder ({error}); expected config.json, tokenizer.json "
            "and *.safetensors, as `dragoman base fetch` makes them"
        ) from error
    return dict(config)


def read_card(folder: Path) -> dict[str, Any]:
    """Return what `dragoman base fetch` noted about the model (name, licence, prompt), or {}."""
    try:
        return dict(json.loads((folder / CARD_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the model in `folder`, read from the headers only."""
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in _shards(folder):
        try:
            with safe_open(shard, framework="numpy") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - not a mapping
                    shapes[key] = tuple(tensors.get_slice(key).get_shape())
        except SafetensorError as error:
            raise BaseModelNotFound(f"{shard}: not a readable safetensors file: {error}") from error
    return shapes


def fingerprint(folder: Path) -> str:
    """Return `sha256:…` over what decides the outputs: config, tokenizer and weight shards.

    Half a gigabyte takes a second; the result is kept beside the weights and used again while
    sizes and modification times stand (a folder that cannot be written is hashed every time).
    """
    files = [
        *(folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()),
        *_shards(folder),
    ]
    stamp = {f.name: [f.stat().st_size, f.stat().st_mtime_ns] for f in files}
    config = {k: v for k, v in read_config(folder).items() if k not in _CONFIG_NOISE}
    stamp["config.json"] = [_sha256_of(json.dumps(config, sort_keys=True).encode())]
    cache = folder / _CACHE_FILE
    cached = _read_cache(cache)
    if cached.get("stamp") == stamp:
        return str(cached["fingerprint"])
    lines = [f"config.json {stamp['config.json'][0]}"]
    lines += [f"{f.name} {_sha256_of_file(f)}" for f in files]
    found = f"sha256:{_sha256_of(chr(10).join(sorted(lines)).encode())}"
    _write_cache(cache, {"stamp": stamp, "fingerprint": found})
    return found


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise BaseModelNotFound(
            f"{folder}: no *.safetensors weights; pickle weights are not read, convert them first"
        )
    return shards


def _sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write_cache(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
