"""The base model and its adapters as llama.cpp reads them: GGUF files of bf16 weights.

The base's GGUF comes quantised (Q4_K_M). Here its tensors are unpacked to bf16, which is what
`dragoman base fetch` does for vLLM, so that both servers compute with the same numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE

# PEFT's module names to llama.cpp's tensors (gguf-py, tensor_mapping.py, gemma3).
_TENSORS: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ARCHITECTURE: Final = "gemma3"


class NotConvertible(ValueError):
    """Weights that have no counterpart in llama.cpp."""


def lora_tensor_name(key: str) -> str:
    """Return llama.cpp's name of a PEFT tensor. Raises NotConvertible.

    `base_model.model.model.layers.3.mlp.up_proj.lora_A.weight` is `blk.3.ffn_up.weight.lora_a`.
    """
    path = key.removeprefix("base_model.model.model.layers.").removesuffix(".weight")
    layer, _, rest = path.partition(".")
    module, _, side = rest.rpartition(".")
    if not layer.isdecimal() or module not in _TENSORS or side not in ("lora_A", "lora_B"):
        raise NotConvertible(
            f"{key}: expected lora_A or lora_B of a layer's {', '.join(_TENSORS)}; llama.cpp's "
            "peer serves LoRAs of linear layers only"
        )
    return f"blk.{layer}.{_TENSORS[module]}.weight.{side.lower()}"


def write_lora_gguf(adapter: Path, out: Path) -> Path:
    """Write the PEFT LoRA in folder `adapter` as a GGUF; return it. Raises NotConvertible."""
    from gguf import GGUFWriter

    config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    writer = GGUFWriter(out, _ARCHITECTURE)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for key, values in sorted(load_file(adapter / WEIGHTS_FILE).items()):
        _add_bf16(writer, lora_tensor_name(key), values)
    _write(writer)
    return out


def write_bf16_base(quantised: Path, out: Path) -> Path:
    """Write the GGUF `quantised` with its matrices in bf16; return it."""
    from gguf import GGUFReader, GGUFWriter
    from gguf.quants import dequantize

    reader = GGUFReader(quantised)
    writer = GGUFWriter(out, _ARCHITECTURE)
    for name, field in reader.fields.items():
        # The writer adds the header and the architecture itself.
        if not name.startswith("GGUF.") and name not in _REPLACED:
            _copy_field(writer, name, field)
    writer.add_file_type(_FILE_TYPE_BF16)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:  # norms stay as they are: float32 in every GGUF
            writer.add_tensor(tensor.name, values.astype(np.float32))
        else:
            _add_bf16(writer, tensor.name, values)
    _write(writer)
    return out


_REPLACED: Final = ("general.architecture", "general.file_type", "general.quantization_version")
_FILE_TYPE_BF16: Final = 32  # llama.cpp, include/llama.h: LLAMA_FTYPE_MOSTLY_BF16


def _copy_field(writer: Any, name: str, field: Any) -> None:
    kind, *item_kinds = field.types
    writer.add_key_value(name, field.contents(), kind, item_kinds[-1] if item_kinds else None)


def _add_bf16(writer: Any, name: str, values: npt.NDArray[Any]) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    bf16 = GGMLQuantizationType.BF16
    writer.add_tensor(name, quantize(values.astype(np.float32), bf16), raw_dtype=bf16)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
