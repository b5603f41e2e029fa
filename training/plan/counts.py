"""How many parameters a method trains on a base, exactly, without the base's weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.errors import BaseModelError
from training.methods.config import RESIDUAL_INITS, FullMethod, LoraMethod, Method, PromptMethod

_INNER_NAMES: Final = ("intermediate_size", "encoder_ffn_dim", "ffn_dim", "d_ff", "n_inner")


@dataclass(frozen=True)
class Shape:
    """What of an architecture the memory of a pass follows from; widths are of one layer."""

    model_type: str
    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    vocabulary: int
    norms: float  # of hidden width, per layer
    head_norms: bool  # queries and keys are normalised, too


@dataclass(frozen=True)
class Counts:
    """Parameters of a base and of what is attached to it; `linear` are those nf4 and int8 hold."""

    shape: Shape
    total: int
    linear: int
    trainable: int
    ranks: int  # of all low-rank modules together
    adapted_inputs: int  # columns of all low-rank modules together
    element_bytes: int  # of the base's own precision
    file_bytes: int  # of the tensors that are saved, before any conversion to LoRA

    @property
    def share(self) -> float:
        """Trainable parameters as a share of all, those of the method included."""
        return self.trainable / self.total


def count(base: Path, method: Method) -> Counts:
    """Return the counts of `method` on the base in `base`, of which only config.json is read.

    Raises BaseModelError for an architecture that transformers does not know, or not so.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise BaseModelError(
            f"{base}: config.json names no architecture that transformers knows "
            f"({str(error).splitlines()[0]}), so nothing can be planned for it"
        ) from error
    return count_of(config, method)


def count_of(config: Any, method: Method) -> Counts:
    """Return the counts of `method` on the architecture of a transformers config."""
    # On import it warns that kernels for 4-bit weights on a CPU are missing; nothing runs here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from training.methods.attach import attach

    dtype = getattr(config, "dtype", None) or torch.float32
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    task = "SEQ_2_SEQ_LM" if config.is_encoder_decoder else "CAUSAL_LM"
    with torch.device("meta"):
        model = kind.from_config(config, dtype=dtype)
        shape, linear = _shape(config, model), _linear(model)
        before = sum(p.numel() for p in model.parameters())
        adapted = attach(model, _countable(method), task=task)
    trained = adapted.trainable()
    trainable = sum(p.numel() for p in trained.values())
    full = isinstance(method, FullMethod)
    factors = [p for name, p in trained.items() if "lora_A" in name]
    residual = isinstance(method, LoraMethod) and method.init in RESIDUAL_INITS
    size = dtype.itemsize
    return Counts(
        shape=shape,
        total=before if full else before + trainable,
        linear=linear,
        trainable=trainable,
        ranks=sum(p.shape[0] for p in factors),
        adapted_inputs=sum(p.shape[1] for p in factors),
        element_bytes=size,
        # What PiSSA and its like took out of the base is saved beside what they learnt.
        file_bytes=size * (before if full else 2 * trainable if residual else trainable),
    )


def _countable(method: Method) -> Method:
    # None of these changes a count, and each of them asks for weights, text or a tokenizer.
    if isinstance(method, LoraMethod):
        init = "kaiming" if method.init in RESIDUAL_INITS else method.init
        return method.model_copy(update={"init": init, "quantize": "none"})
    if isinstance(method, PromptMethod):
        return method.model_copy(update={"init_text": None})
    return method


def _shape(config: Any, model: Any) -> Shape:
    text = config.get_text_config()
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    head = int(getattr(text, "head_dim", None) or hidden // heads)
    layers = int(text.num_hidden_layers)
    if config.is_encoder_decoder:
        layers += int(getattr(text, "decoder_layers", None) or text.num_decoder_layers)
    inner = next((int(v) for n in _INNER_NAMES if (v := getattr(text, n, None))), 4 * hidden)
    norms = [m.weight.numel() for m in model.modules() if type(m).__name__.endswith("Norm")]
    return Shape(
        model_type=str(config.model_type),
        layers=layers,
        hidden=hidden,
        inner=inner,
        queries=heads * head,
        keys=int(getattr(text, "num_key_value_heads", None) or heads) * head,
        vocabulary=int(text.vocab_size),
        norms=sum(width == hidden for width in norms) / layers,
        head_norms=any(width == head for width in norms),
    )


def _linear(model: Any) -> int:
    from torch import nn

    head = model.get_output_embeddings()
    modules = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    return sum(m.weight.numel() for m in modules)
