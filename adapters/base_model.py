"""Which base model an adapter belongs to: a name for people, a fingerprint for machines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from adapters.errors import BaseModelNotFound

CARD_FILE: Final = "dragoman-base.json"
_CACHE_FILE: Final = ".dragoman-fingerprint.json"
_INDEX_FILE: Final = "model.safetensors.index.json"
_FINGERPRINT_RE: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt",
    "source.spm", "target.spm", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
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
        if not folder.is_dir():
            raise BaseModelNotFound(
                f"{folder}: no such folder; `dragoman base fetch {folder.name}` gets a base model"
            )
        card = read_card(folder)
        revision = card.get("revision")
        return cls(
            name=str(card.get("name") or folder.resolve().name),
            revision=None if revision is None else str(revision),
            fingerprint=fingerprint(folder),
            vocab_size=_vocab_size(folder),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:19]})"


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of the model in `folder`. Raises BaseModelNotFound."""
    try:
        return _read_object(folder / "config.json")
    except (OSError, ValueError) as error:
        raise BaseModelNotFound(
            f"{folder}: not a base model folder ({error}); expected config.json, tokenizer.json "
            "and *.safetensors, as `dragoman base fetch` makes them"
        ) from error


def read_card(folder: Path) -> dict[str, Any]:
    """Return what `dragoman base fetch` noted about the model (name, licence, prompt), or {}.

    Raises BaseModelNotFound if the note is there and cannot be read.
    """
    path = folder / CARD_FILE
    try:
        return _read_object(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BaseModelNotFound(f"{path}: {error}; fetch the base model again") from error


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
    Raises BaseModelNotFound.
    """
    config_sha256 = _sha256_of(json.dumps(_without_noise(read_config(folder)), sort_keys=True))
    tokenizer = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not tokenizer:
        raise BaseModelNotFound(f"{folder}: no tokenizer.json; a base model needs its tokenizer")
    files = [*tokenizer, *_shards(folder)]
    stamp: dict[str, list[object]] = {"config.json": [config_sha256]}
    stamp |= {f.name: [f.stat().st_size, f.stat().st_mtime_ns] for f in files}
    cache = folder / _CACHE_FILE
    cached = _read_cache(cache)
    if cached.get("stamp") == stamp and _FINGERPRINT_RE.fullmatch(str(cached.get("fingerprint"))):
        return str(cached["fingerprint"])
    lines = [f"config.json {config_sha256}", *(f"{f.name} {_sha256_of_file(f)}" for f in files)]
    found = f"sha256:{_sha256_of(chr(10).join(sorted(lines)))}"
    _write_cache(cache, {"stamp": stamp, "fingerprint": found})
    return found


def _vocab_size(folder: Path) -> int:
    config = read_config(folder)
    text_config = config.get("text_config")
    inner = text_config if isinstance(text_config, dict) else {}
    size = config.get("vocab_size") or inner.get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise BaseModelNotFound(
            f"{folder / 'config.json'}: vocab_size is {size!r}, expected a number; "
            "is it a language model?"
        )
    return size


def _without_noise(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_noise(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _CONFIG_NOISE
    }


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise BaseModelNotFound(
            f"{folder}: no *.safetensors weights; pickle weights are not read, convert them first"
        )
    absent = _indexed_shards(folder) - {shard.name for shard in shards}
    if absent:
        raise BaseModelNotFound(
            f"{folder}: {', '.join(sorted(absent))} named by {_INDEX_FILE} is not there; "
            "fetch the base model again"
        )
    return shards


def _indexed_shards(folder: Path) -> set[str]:
    try:
        weight_map = _read_object(folder / _INDEX_FILE).get("weight_map")
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise BaseModelNotFound(f"{folder / _INDEX_FILE}: {error}") from error
    return set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BaseModelNotFound(f"{path}: cannot be read ({error.strerror})") from error


def _read_object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")  # noqa: TRY004
    return value


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        return _read_object(path)
    except (OSError, ValueError):
        return {}


def _write_cache(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(path)
    except OSError:
        # On a read-only file system even removing what is not there is refused.
        with contextlib.suppress(OSError):
            draft.unlink()
