"""Tiny real things: a tokenizer, a base model's folder, LoRA folders and their contracts.

They are files as the real ones, only small: no torch, no download, a few milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from adapters.base_model import BaseModelRef
from adapters.ids import AdapterId
from adapters.manifest import AdapterManifest, Weights, hash_files
from adapters.prompt import PromptFormat
from adapters.registry import FileRegistry, Published

Array = npt.NDArray[Any]

PAD, EOS, BOS, START, END = range(5)
CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
VOCAB_SIZE = len(CONTROL_TOKENS) + 256
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
HIDDEN, INNER = 8, 16
MODULES = {
    "model.layers.0.self_attn.q_proj": (HIDDEN, HIDDEN),
    "model.layers.0.mlp.up_proj": (INNER, HIDDEN),
}
# As Gemma's: an expression prints the last newline, since Jinja drops a template's own.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def tokenizer() -> Tokenizer:
    """Return a tokenizer of single bytes with Gemma's control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*CONTROL_TOKENS, *alphabet])}
    built = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(list(CONTROL_TOKENS))
    return built


def prompt_format(**changes: Any) -> PromptFormat:
    """Return the prompt that the tiny base expects."""
    facts: dict[str, Any] = {
        "chat_template": CHAT_TEMPLATE,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "stop_token_ids": [END, EOS],
    }
    return PromptFormat(**{**facts, **changes})


def write_json(path: Path, value: object) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Array], *, dtype: str = "float32") -> None:
    """Write safetensors; dtype is float32, float16 or bfloat16 (which numpy does not have)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        wide = np.asarray(values, dtype=np.float32)
        # bfloat16 is the upper half of a float32; a NaN's quiet bit is up there.
        bfloat16 = (wide.view(np.uint32) >> 16).astype(np.uint16)
        narrow = bfloat16 if dtype == "bfloat16" else wide.astype(dtype)
        end = len(data) + narrow.nbytes
        header[name] = {
            "dtype": _DTYPES[dtype],
            "shape": list(wide.shape),
            "data_offsets": [len(data), end],
        }
        data += narrow.tobytes()
    write_safetensors(path, header, data)


def write_safetensors(path: Path, header: object, data: bytes = b"") -> None:
    """Write a safetensors file with this header, right or wrong."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_base(folder: Path, *, seed: int = 0) -> Path:
    """Write the folder of a tiny base model, as `dragoman base fetch` makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shapes = {**MODULES, "model.embed_tokens": (VOCAB_SIZE, HIDDEN)}
    weights = {f"{name}.weight": rng.standard_normal(shape) for name, shape in shapes.items()}
    write_tensors(folder / "model.safetensors", weights)
    write_json(
        folder / "config.json",
        {"model_type": "llama", "vocab_size": VOCAB_SIZE, "hidden_size": HIDDEN},
    )
    tokenizer().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "chat_template": CHAT_TEMPLATE},
    )
    write_json(folder / "generation_config.json", {"eos_token_id": [END, EOS]})
    return folder


def lora_tensors(rank: int = 4, *, seed: int = 0) -> dict[str, Array]:
    """Return the tensors of a LoRA on every linear module of the tiny base."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for module, (size_out, size_in) in MODULES.items():
        key = f"base_model.model.{module}"
        tensors[f"{key}.lora_A.weight"] = rng.standard_normal((rank, size_in))
        tensors[f"{key}.lora_B.weight"] = rng.standard_normal((size_out, rank))
    return tensors


def lora_config(rank: int = 4, **changes: Any) -> dict[str, Any]:
    """Return adapter_config.json as PEFT writes it."""
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "tiny",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "up_proj"],
        "bias": "none",
        "use_dora": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    return {**config, **changes}


def write_lora(folder: Path, *, rank: int = 4, seed: int = 0, dtype: str = "float32") -> Path:
    """Write a PEFT folder as `save_pretrained` does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter_config.json", lora_config(rank))
    write_tensors(folder / "adapter_model.safetensors", lora_tensors(rank, seed=seed), dtype=dtype)
    return folder


def contract(folder: Path, *, adapter_id: str = "ui-en-fr", **changes: Any) -> AdapterManifest:
    """Return the draft manifest of the LoRA in `folder`; hashes are of the files as they are."""
    name = AdapterId.parse(adapter_id)
    facts: dict[str, Any] = {
        "id": name,
        "version": 1,
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "domain": name.domain,
        "pairs": (name.pair,) if name.pair else (),
        "base": BaseModelRef(name="tiny", fingerprint=f"sha256:{'0' * 64}", vocab_size=VOCAB_SIZE),
        "prompt": prompt_format(),
        "weights": Weights(
            rank=4, alpha=8, target_modules=("q_proj", "up_proj"), files=hash_files(folder)
        ),
        "licence": "Apache-2.0",
    }
    return AdapterManifest(**{**facts, **changes})


def publish(registry: FileRegistry, *, seed: int = 0, adapter_id: str = "ui-en-fr") -> Published:
    """Publish a LoRA with the weights of `seed` to `registry`, from a folder beside it."""
    folder = write_lora(registry.root.parent / f"lora-{seed}", seed=seed)
    return registry.publish(contract(folder, adapter_id=adapter_id), folder)
