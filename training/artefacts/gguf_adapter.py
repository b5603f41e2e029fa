"""A LoRA as GGUF, as llama.cpp's convert_lora_to_gguf.py writes it: for llama.cpp and Ollama."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt
from torch import Tensor

from adapters.base_model import read_config
from adapters.errors import UnsupportedAdapter
from adapters.verify import read_peft_config
from training.methods.peft_folder import PeftFolder
from training.methods.updates import Module, Product, update_of

# llama.cpp's architecture of each model_type whose linear layers it keeps as they are, but for
# the order of rows of Llama's queries and keys.
_ARCHITECTURES: Final = {
    "gemma3": "gemma3", "gemma3_text": "gemma3", "llama": "llama", "mistral": "llama",
    "qwen2": "qwen2", "qwen3": "qwen3",
}  # fmt: skip


def write_gguf(folder: Path, base: Path, path: Path) -> None:
    """Write the plain LoRA in `folder` to `path`, float32. Raises UnsupportedAdapter."""
    read_peft_config(folder)
    adapter, config = PeftFolder(folder), read_config(base)
    config = config.get("text_config") or config
    architecture = _ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        raise UnsupportedAdapter(
            f"{folder}: no GGUF for a base of type {config.get('model_type')!r}, only for "
            f"{', '.join(_ARCHITECTURES)}; merge it and use llama.cpp's convert_hf_to_gguf.py"
        )
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = float(adapter.config["lora_alpha"])
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    names = _names(architecture, int(config["num_hidden_layers"]))
    for name in adapter.modules:
        target = names.get_name(name)
        if target is None:
            raise UnsupportedAdapter(f"{folder}: {name} has no name in GGUF's {architecture}")
        product = _scaled(Module(name, adapter.parts(name), adapter.config, _no_weight), alpha)
        rows = product.B
        if architecture == "llama" and name.endswith(("q_proj", "k_proj")):
            rows = as_llama_cpp(rows, _heads(config, name))
        writer.add_tensor(f"{target}.weight.lora_a", _array(product.A))
        writer.add_tensor(f"{target}.weight.lora_b", _array(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def as_llama_cpp(rows: Tensor, heads: int) -> Tensor:
    """Return the rows of a query or key projection as llama.cpp's rotary embedding has them.

    transformers rotates the two halves of a head against each other, llama.cpp neighbours.
    """
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, -1)
    return halves.transpose(1, 2).reshape(rows.shape)


def _scaled(module: Module, alpha: float) -> Product:
    # llama.cpp scales by alpha / rank of the tensor: rsLoRA and patterns go into B.
    product = update_of(module)
    if not isinstance(product, Product):
        raise UnsupportedAdapter(f"{module.name}: no plain LoRA; convert it first")
    return Product(product.B * (product.rank / alpha), product.A)


def _names(architecture: str, layers: int) -> gguf.TensorNameMap:
    by_name = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(by_name[architecture], layers)


def _heads(config: dict[str, Any], name: str) -> int:
    heads = int(config["num_attention_heads"])
    return heads if name.endswith("q_proj") else int(config.get("num_key_value_heads") or heads)


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.contiguous().numpy()
    return array


def _no_weight() -> Tensor:
    raise UnsupportedAdapter("a plain LoRA needs no weight of the base")
