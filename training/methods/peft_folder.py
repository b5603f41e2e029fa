"""PEFT folders and base weights, read one module at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adapters.base_model import read_config
from adapters.errors import (
    BaseModelError,
    FileCorrupt,
    FileMissing,
    ShapeMismatch,
    UnsupportedAdapter,
)
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE

_KEY_RE: Final = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?P<part>"
    r"lora_[ABE]|lora_magnitude_vector|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|ia3_l)(?:\.weight)?"
)


class PeftFolder:
    """An adapter as PEFT saves it, of any kind."""

    def __init__(self, folder: Path) -> None:
        """Read the config and the names. Raises AdapterRejected."""
        self.folder = folder
        try:
            self.config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_bytes())
            with safe_open(folder / WEIGHTS_FILE, framework="pt") as tensors:
                keys = list(tensors.keys())
        except FileNotFoundError as error:
            raise FileMissing(
                f"{folder}: expected {CONFIG_FILE} and {WEIGHTS_FILE} as PEFT saves them, "
                f"{Path(error.filename or WEIGHTS_FILE).name} is missing"
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            raise FileCorrupt(f"{folder}: not a readable PEFT adapter: {error}") from error
        self._keys: dict[str, dict[str, str]] = {}
        for key in sorted(keys):
            match = _KEY_RE.fullmatch(key)
            if match is None:
                raise UnsupportedAdapter(
                    f"{folder}: tensor {key!r} changes more than linear layers, so no LoRA can "
                    "stand for it; merge it (`dragoman adapters merge`)"
                )
            self._keys.setdefault(match["module"], {})[match["part"]] = key

    @property
    def modules(self) -> list[str]:
        """The modules that it changes."""
        return list(self._keys)

    def parts(self, module: str) -> dict[str, Tensor]:
        """Return the tensors of one module in float32."""
        with safe_open(self.folder / WEIGHTS_FILE, framework="pt") as tensors:
            return {
                part: tensors.get_tensor(key).float() for part, key in self._keys[module].items()
            }


class BaseWeights:
    """The weights of a base model's folder."""

    def __init__(self, folder: Path, shards: dict[str, Any]) -> None:
        self._folder = folder
        self._shards = shards

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[BaseWeights]:
        """Yield the weights; they are read when asked for. Raises BaseModelError."""
        refuse_quantized(folder)
        with ExitStack() as stack:
            shards: dict[str, Any] = {}
            for path in sorted(folder.glob("*.safetensors")):
                shard = stack.enter_context(safe_open(path, framework="pt"))
                shards |= dict.fromkeys(shard.keys(), shard)
            yield cls(folder, shards)

    def weight(self, module: str) -> Tensor:
        """Return the module's weight (out, in) in float32."""
        return self._get(f"{module}.weight").float()

    def bias(self, module: str) -> Tensor | None:
        """Return the module's bias in float32, if it has one."""
        has_one = f"{module}.bias" in self._shards
        return self._get(f"{module}.bias").float() if has_one else None

    def shape(self, module: str) -> tuple[int, ...]:
        """Return (out, in), without reading the weight."""
        self._check(f"{module}.weight")
        return tuple(self._shards[f"{module}.weight"].get_slice(f"{module}.weight").get_shape())

    def dtype(self, module: str) -> torch.dtype:
        """Return the precision that the module is kept in."""
        return self._get(f"{module}.weight").dtype

    def _get(self, key: str) -> Tensor:
        self._check(key)
        tensor: Tensor = self._shards[key].get_tensor(key)
        return tensor

    def _check(self, key: str) -> None:
        if key not in self._shards:
            raise ShapeMismatch(f"{self._folder}: the base model has no {key}; another base?")


def refuse_quantized(base: Path) -> None:
    """Raise BaseModelError if the weights in `base` are packed."""
    quantized = read_config(base).get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise BaseModelError(
            f"{base}: its weights are quantised ({method}), and what is added to them would be "
            "rounded away; name the folder of the same model in its full precision"
        )
