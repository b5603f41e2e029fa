"""An adapter folder against its manifest and its base model: nothing unverified reaches the engine.

A bad adapter that vLLM meets inside a step ends the whole engine, with every other request in it;
so all that can be wrong with a folder is found here, before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from adapters.base_model import weight_shapes
from adapters.bounded_read import SMALL_BYTES, read_small
from adapters.errors import (
    FileCorrupt,
    FileMissing,
    NonFiniteWeights,
    RankTooLarge,
    ShapeMismatch,
    UnsafeFile,
    UnsupportedAdapter,
)
from adapters.manifest import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterManifest,
    FileHash,
    hash_files,
    no_rest,
)
from adapters.peft_config import RankRule, verify_peft_config

_PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_KEY_RE: Final = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# Each dtype that LoRA files use, with the bits of its exponent: all ones means NaN or infinity.
_EXPONENT: Final[dict[str, tuple[type[np.unsignedinteger[Any]], int]]] = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
}
_NAME_RE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def verify_adapter(
    folder: Path,
    manifest: AdapterManifest,
    *,
    max_rank: int | None = None,
    base: Path | None = None,
    rest: Callable[[], None] = no_rest,
) -> None:
    """Raise AdapterRejected unless `folder` holds exactly the adapter that `manifest` describes.

    max_rank is the server's limit; `base` is the base model's folder, whose shapes must fit. It is
    20 ms of work for an adapter of 15 MB; `rest` is called every half millisecond.
    """
    verify_files(folder, manifest.weights.files, rest=rest)
    config = read_peft_config(folder)
    rank = verify_tensors(folder / WEIGHTS_FILE, config, base=base, rest=rest)
    if rank != manifest.weights.rank:
        raise ShapeMismatch(
            f"{folder}: manifest says rank {manifest.weights.rank}, tensors have {rank}"
        )
    if max_rank is not None and rank > max_rank:
        raise RankTooLarge(
            f"{manifest.id}: rank {rank} is above this server's limit of {max_rank}; "
            "start the server with a higher --max-lora-rank, or train with a lower rank"
        )


def verify_files(
    folder: Path, files: dict[str, FileHash], *, rest: Callable[[], None] = no_rest
) -> None:
    """Raise unless every file is there, inside the folder, no pickle, and hashes as written."""
    verify_names(files)
    if folder.is_symlink():
        raise UnsafeFile(f"{folder}: a link; versions are folders of their own")
    strangers = [p for p in sorted(folder.glob("*")) if p.name not in files and _is_weights(p)]
    for stranger in strangers:
        raise UnsafeFile(
            f"{stranger}: weights that the manifest does not name; pickle weights can run code and "
            "are never loaded: remove the file, or save the adapter as safetensors "
            "(save_pretrained(safe_serialization=True))"
        )
    for name in sorted({*files, CONFIG_FILE, WEIGHTS_FILE}):
        path = folder / name
        if path.is_symlink():
            raise UnsafeFile(f"{path}: files of an adapter lie in its folder and are no links")
        if not path.is_file():
            raise FileMissing(f"{path}: no such file; restore it or publish a new version")
        if name not in files:
            raise FileCorrupt(f"{path}: not named by the manifest; publish the adapter anew")
        size_bytes = path.stat().st_size
        if size_bytes != files[name].size_bytes:
            raise FileCorrupt(
                f"{path}: expected {files[name].size_bytes} bytes, found {size_bytes}; "
                "restore the file"
            )
        found = hash_files(folder, (name,), rest=rest)[name]
        if found != files[name]:
            raise FileCorrupt(
                f"{path}: expected sha256 {files[name].sha256[:12]}…, "
                f"found {found.sha256[:12]}…; restore the file"
            )


def verify_names(files: Iterable[str]) -> None:
    """Raise UnsafeFile unless every name is a plain one that stays inside its folder."""
    for name in files:
        if _NAME_RE.fullmatch(name) is None or Path(name).suffix.lower() in _PICKLES:
            raise UnsafeFile(
                f"{name!r}: no name for a file of an adapter; expected letters, digits, '_', '-' "
                "and '.' in a name of its own folder, and no pickle"
            )


def _is_weights(path: Path) -> bool:
    return path.suffix.lower() in _PICKLES | {".safetensors"}


def read_peft_config(folder: Path) -> dict[str, Any]:
    """Return adapter_config.json if it is a LoRA that vLLM serves. Raises AdapterRejected."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(read_small(path))
    except FileNotFoundError as error:
        raise FileMissing(f"{path}: no such file; expected a PEFT adapter folder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise FileCorrupt(f"{path}: not readable JSON: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise UnsupportedAdapter(
            f"{path}: expected peft_type 'LORA', found {kind!r}; convert or merge it first"
        )
    verify_peft_config(path, config)
    return config


def verify_tensors(
    path: Path,
    config: dict[str, Any],
    *,
    base: Path | None,
    rest: Callable[[], None] = no_rest,
) -> int:
    """Return the largest rank in the weights at `path`. Raises AdapterRejected.

    Every tensor must be lora_A (rank, in) or lora_B (out, rank) of one module, finite, of the rank
    that `config` gives, and fit the shape (out, in) of the base's weight if `base` is given.
    """
    shapes = _read_finite_shapes(path, rest)
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        match = _KEY_RE.fullmatch(key)
        if match is None or len(shape) != 2:
            raise UnsupportedAdapter(
                f"{path}: tensor {key!r} of shape {shape} is no LoRA matrix of a linear layer"
            )
        modules.setdefault(match["module"], {})[match["side"]] = shape
    base_shapes = weight_shapes(base) if base else None
    ranks = RankRule(config)
    return max(
        _verify_module(path, module, sides, ranks.of(module), base_shapes)
        for module, sides in modules.items()
    )


def _verify_module(
    path: Path,
    module: str,
    sides: dict[str, tuple[int, ...]],
    rank: int,
    base_shapes: dict[str, tuple[int, ...]] | None,
) -> int:
    if sides.keys() != {"A", "B"}:
        raise ShapeMismatch(f"{path}: {module} has only lora_{'/'.join(sides)}, expected A and B")
    (a_rank, size_in), (size_out, b_rank) = sides["A"], sides["B"]
    if not a_rank == b_rank == rank:
        raise ShapeMismatch(
            f"{path}: {module} has ranks A {a_rank} and B {b_rank}, the config says {rank}"
        )
    if base_shapes is not None:
        expected = base_shapes.get(f"{module}.weight")
        if expected is None:
            raise ShapeMismatch(f"{path}: the base model has no module {module}; another base?")
        if expected != (size_out, size_in):
            raise ShapeMismatch(
                f"{path}: {module} is {expected} in the base, the adapter is for "
                f"{(size_out, size_in)}; it was trained on another base"
            )
    return rank


def _read_finite_shapes(path: Path, rest: Callable[[], None]) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="numpy"):
            pass  # the library's own checks: header, offsets, sizes, no overlap, no gap
        header, data_start = _read_header(path)
    except FileNotFoundError as error:
        raise FileMissing(f"{path}: no such file; restore it or publish a new version") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise FileCorrupt(f"{path}: not a readable safetensors file: {error}") from error
    shapes = {}
    for key, entry in header.items():
        shapes[key] = tuple(entry["shape"])
        if 0 in shapes[key]:
            raise ShapeMismatch(f"{path}: tensor {key!r} is empty, shape {shapes[key]}")
        if entry["dtype"] not in _EXPONENT:
            raise UnsupportedAdapter(
                f"{path}: tensor {key!r} is {entry['dtype']}; "
                f"expected one of {', '.join(_EXPONENT)}"
            )
    if not shapes:
        raise FileCorrupt(f"{path}: holds no tensors")
    raw = np.memmap(path, dtype=np.uint8, mode="r", offset=data_start)
    for key, entry in header.items():
        word, mask = _EXPONENT[entry["dtype"]]
        start, end = entry["data_offsets"]
        bits = np.frombuffer(raw[start:end].tobytes(), dtype=word)
        if bool(np.any((bits & word(mask)) == mask)):
            raise NonFiniteWeights(
                f"{path}: tensor {key!r} holds NaN or infinity; training diverged, "
                "train again with a lower learning rate"
            )
        rest()
    return shapes


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    # safetensors: 8 bytes of length (little endian), a JSON header, then the tensors' bytes.
    # Read by hand because numpy has no bfloat16, and torch is not a dependency here.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > SMALL_BYTES:
            raise ValueError(f"its header has {size} bytes, expected at most {SMALL_BYTES}")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return dict(header), 8 + size
