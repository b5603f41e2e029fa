"""Random models of real architectures, small enough to train in a second. Imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from adapters.ids import LanguagePair
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from training.corpus.segment import Segment
from training.encode import Encoded, Encoder

PAIR = LanguagePair("en", "fr")
HIDDEN = 32
_SIZES: dict[str, Any] = {
    "vocab_size": fakes.VOCAB_SIZE,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": fakes.PAD,
    "bos_token_id": fakes.BOS,
    "eos_token_id": fakes.EOS,
}


# Their windows are shorter than the tests' rows.
_KINDS: dict[str, dict[str, Any]] = {
    "gemma": {
        "model_type": "gemma3_text",
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 7},
    "qwen2": {
        "model_type": "qwen2",
        "sliding_window": 9,
        "use_sliding_window": True,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "qwen3": {"model_type": "qwen3"},
}
KINDS = tuple(_KINDS)


def model(kind: str, **sizes: Any) -> Any:
    """Return a random float32 model of one of KINDS."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**_KINDS[kind], **_SIZES | sizes)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def write_base(
    folder: Path, kind: str = "llama", *, dtype: torch.dtype = torch.float32, **sizes: Any
) -> Path:
    """Write a base model's folder with random weights; its card calls it `tiny`."""
    model(kind, **sizes).to(dtype).save_pretrained(folder)
    fakes.tokenizer().save(str(folder / "tokenizer.json"))
    card = {"name": "tiny", "prompt": fakes.prompt_format().model_dump(mode="json")}
    (folder / "dragoman-base.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def encode(base: Path, texts: list[tuple[str, str]]) -> list[Encoded]:
    """Return the pairs as ids."""
    encoder = Encoder(fakes.prompt_format(), PAIR, BaseTokenizer.load(base), max_length=200)
    return encoder.encode_all(Segment(s, t, "", "", 1) for s, t in texts)[0]


def lessons(base: Path, count: int = 24) -> list[Encoded]:
    """Return pairs that a tiny model can learn by heart."""
    words = ("open", "close", "save it", "run", "move the cell", "stop")
    return encode(base, [(words[i % 6], words[i % 6].upper()) for i in range(count)])
