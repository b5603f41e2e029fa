"""One adapter's file into vLLM's form of it: in memory of its own, in small portions.

vLLM maps the file. Then a file that is cut short while it is read, or later while its adapter
waits in memory, ends the process by SIGBUS, and scaling a mapped tensor in place faults page by
page (15 ms for an adapter of 8 MB). Here each tensor is read, converted once, and owned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, cast

import torch

from adapters.manifest import WEIGHTS_FILE
from serving.vllm_compat import LoRAModel

_DTYPES: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SIDES: Final = (".lora_A.weight", ".lora_B.weight")
# Below torch's grain of 32,768 elements: an operation as large starts a second team of threads.
_PORTION: Final = 16_384

Rest = Callable[[], None]


class AdapterReader:
    """Stands where vLLM takes its class LoRAModel to read from a folder; calls `rest` often."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def from_local_checkpoint(
        self,
        lora_dir: str,
        expected_lora_modules: Collection[str],
        peft_helper: Any,
        *,
        moe_ep_spec: Any = None,
        **options: Any,
    ) -> Any:
        """Return vLLM's LoRAModel of the adapter in `lora_dir`, scaled.

        What is not plain LoRA on known linear layers is left to vLLM, as is the error about it.
        """
        path = Path(lora_dir) / WEIGHTS_FILE
        header, start = read_header(path)
        if moe_ep_spec is not None or not _is_plain(header, expected_lora_modules):
            return LoRAModel.from_local_checkpoint(
                lora_dir,
                cast("set[str]", expected_lora_modules),
                peft_helper,
                moe_ep_spec=moe_ep_spec,
                **options,
            )
        tensors = self._tensors(path, header, start, options.get("dtype"))
        number = options.pop("lora_model_id")
        lora = LoRAModel.from_lora_tensors(
            number, cast("dict[str, Any]", _Rested(tensors, self._rest)), peft_helper, **options
        )
        for weights in lora.loras.values():
            self._scale(weights)
        return lora

    def _tensors(
        self, path: Path, header: dict[str, Any], start: int, dtype: torch.dtype | None
    ) -> dict[str, torch.Tensor]:
        tensors = {}
        with path.open("rb") as file:
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                first, end = entry["data_offsets"]
                file.seek(start + first)
                raw = bytearray(end - first)
                if file.readinto(raw) != len(raw):
                    raise ValueError(f"{path}: ends within {name}; restore the file")
                read = torch.frombuffer(raw, dtype=_DTYPES[entry["dtype"]])
                tensors[name] = self._own(read, dtype or read.dtype).view(entry["shape"])
        return tensors

    def _own(self, read: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if read.dtype == dtype:
            self._rest()
            return read  # the buffer is this tensor's own already
        own = torch.empty(read.shape, dtype=dtype)
        for portion in _portions(read.numel()):
            own[portion].copy_(read[portion])
            self._rest()
        return own

    def _scale(self, weights: Any) -> None:
        """Do what vLLM's `optimize` does, in portions."""
        if weights.scaling == 1:
            return
        flat = weights.lora_b.view(-1)
        for portion in _portions(flat.numel()):
            flat[portion] *= weights.scaling
            self._rest()
        weights.scaling = 1


class _Rested:
    """Tensors by name; whoever goes through them rests in between."""

    def __init__(self, tensors: dict[str, torch.Tensor], rest: Rest) -> None:
        self._tensors = tensors
        self._rest = rest

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        for item in self._tensors.items():
            self._rest()
            yield item


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where its data begins.

    Adapters of the registry were verified before. Raises ValueError or OSError on others.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError(f"{path}: not a safetensors file; restore it")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return dict(header), 8 + size


def _is_plain(header: dict[str, Any], expected: Collection[str]) -> bool:
    return all(
        name.endswith(_SIDES)
        and name.removesuffix(name[-len(_SIDES[0]) :]).rsplit(".", 1)[-1] in expected
        and entry["dtype"] in _DTYPES
        and ".experts" not in name
        for name, entry in header.items()
    )


def _portions(count: int) -> Iterator[slice]:
    return (slice(start, start + _PORTION) for start in range(0, count, _PORTION))
