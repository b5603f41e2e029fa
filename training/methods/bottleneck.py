"""Bottleneck adapters after Houlsby et al. (arXiv 1902.00751), for blocks of many architectures.

One stands after attention and one after the MLP of every block, on what the sub-layer hands to the
residual addition. In Gemma 2 and 3 that is the output of the norm after the sub-layer: before it,
the norm would undo part of what the adapter says. Cross-attention has none, as in AdapterHub's
configuration of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adapters.errors import TrainingFailed
from training.methods.config import BottleneckMethod

# What a block has, by the path of the last module before each residual addition: attention, MLP.
# The first row whose modules are all there counts, so rows of more special blocks come first.
_PLACES: Final = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma 2 and 3, OLMo 2
    ("self_attn.o_proj", "mlp.down_proj"),  # Llama, Mistral, Qwen, Gemma, SmolLM, Phi-3
    ("attn.attention.out_proj", "mlp.c_proj"),  # GPT-Neo
    ("attn.c_proj", "mlp.c_proj"),  # GPT-2
    ("self_attention.dense", "mlp.dense_4h_to_h"),  # BLOOM, Falcon
    ("attention.dense", "mlp.dense_4h_to_h"),  # GPT-NeoX, Pythia
    ("self_attn.out_proj", "fc2"),  # Marian, mBART, NLLB, OPT
    ("layer.0.SelfAttention.o", "layer.2.DenseReluDense.wo"),  # T5, decoder
    ("layer.0.SelfAttention.o", "layer.1.DenseReluDense.wo"),  # T5, encoder
)
_NAMES: Final = ("bottleneck_attention", "bottleneck_mlp")
_ACTIVATIONS: Final = {"relu": nn.ReLU, "gelu": nn.GELU}


class Bottleneck(nn.Module):
    """Down, activation, up, and the input added again: the identity until it is trained."""

    def __init__(self, width: int, method: BottleneckMethod) -> None:
        super().__init__()
        self.method = method
        self.down = nn.Linear(width, method.size)
        self.activation = _ACTIVATIONS[method.activation]()
        self.dropout = nn.Dropout(method.dropout)
        self.up = nn.Linear(method.size, width)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.enabled = True

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what goes on to the residual addition, in the precision of `hidden`."""
        inner = self.dropout(self.activation(self.down(hidden)))
        added: Tensor = hidden + self.up(inner).to(hidden.dtype)
        return added


def attach_bottlenecks(model: PreTrainedModel, method: BottleneckMethod) -> None:
    """Add float32 adapters to every block of `model` and freeze the rest.

    The base's own parameters keep their names. Raises TrainingFailed for unknown architectures.
    """
    model.requires_grad_(False)
    width = int(model.config.get_text_config().hidden_size)
    blocks = list(_blocks(model))
    if not blocks:
        known = "; ".join(" and ".join(row) for row in _PLACES)
        raise TrainingFailed(
            f"method.kind: bottleneck does not know the blocks of {type(model).__name__}; "
            f"expected modules named {known}. Use method.kind: lora"
        )
    for block, row in blocks:
        for name, path in zip(_NAMES, row, strict=True):
            place = block.get_submodule(path)
            device = next(place.parameters()).device
            adapter = Bottleneck(width, method).to(device=device, dtype=torch.float32)
            block.add_module(name, adapter)
            place.register_forward_hook(_through(adapter))


def places_of(model: nn.Module) -> list[str]:
    """Return the modules whose output goes through an adapter, by their paths inside a block."""
    return sorted({path for _, row in _blocks(model) for path in row})


def bottlenecks(model: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Yield the adapters in `model` and their names."""
    for name, module in model.named_modules():
        if isinstance(module, Bottleneck):
            yield name, module


@contextmanager
def without_bottlenecks(model: nn.Module) -> Iterator[None]:
    """Make `model` compute what it did before the adapters came."""
    adapters = [adapter for _, adapter in bottlenecks(model)]
    for adapter in adapters:
        adapter.enabled = False
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.enabled = True


def _blocks(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, str]]]:
    for module in model.modules():
        row = next((row for row in _PLACES if all(_has(module, path) for path in row)), None)
        if row is not None:
            yield module, row


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _through(adapter: Bottleneck) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        result: Tensor = adapter(output) if adapter.enabled else output
        return result

    return hook
