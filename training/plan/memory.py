"""The memory of a run, part by part, from the shape of its model. Imports no torch.

Bytes per token and layer are what autograd keeps of one pass, counted with
`torch.autograd.graph.saved_tensors_hooks` over Gemma 3, Llama and Qwen2 of several widths with
transformers 5.19 and PEFT 0.21: whole multiples of the widths, with fused attention.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from training.fit.schedule import Schedule
from training.methods.config import FullMethod, LoraMethod, Method
from training.plan.counts import Counts

# torch, transformers, PEFT, TRL and the text in a process that has not seen the weights yet.
_LIBRARIES_CPU: Final = 1.0e9
# The context of a CUDA device and cuBLAS's workspace; not measured by us.
_LIBRARIES_GPU: Final = 0.8e9
# A chunk of logits: as training.fit.label_loss has it.
_CHUNK_ELEMENTS: Final = 32 << 20
# On a GPU, and under a trained head, every position is scored: bf16 logits, a float32 copy,
# log-softmax and its gradient.
_SCORE_BYTES: Final = 14
# torch 2.13 sums the rows of a bf16 chunk by way of a float32 copy of it.
_SUM_BYTES: Final = 4
# nf4: half a byte, and a scale for every 64 weights (float32, or a byte where quantised again).
_NF4: Final = 0.5 + 4 / 64
_NF4_DOUBLE: Final = 0.5 + 1 / 64 + 4 / (64 * 256)
_INT8: Final = 1.0


@dataclass(frozen=True)
class Pass:
    """The largest pass of a run: positions that go through the model together, and labels."""

    tokens: int
    labels: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak. `trained` are the trained weights in float32 beside the base's own."""

    weights: float
    trained: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    libraries: float

    @property
    def total(self) -> float:
        """All parts together."""
        return float(sum(asdict(self).values()))


def largest_pass(schedule: Schedule) -> Pass:
    """Return the largest pass that the schedule allows, whatever the text."""
    longest = schedule.max_length
    tokens = min(max(schedule.tokens_per_pass, longest), schedule.batch_size * longest)
    return Pass(tokens, tokens)


def estimate(
    counts: Counts, method: Method, schedule: Schedule, largest: Pass, *, gpu: bool = False
) -> Memory:
    """Return the memory of a run with `largest` as its largest pass, on the CPU or on a GPU."""
    full = method if isinstance(method, FullMethod) else None
    frozen = counts.total - counts.trainable
    small_states = gpu and schedule.optimizer != "adamw"
    return Memory(
        weights=_frozen_bytes(counts, method, frozen),
        trained=4.0 * counts.trainable,
        # While gradients accumulate, those before a batch are kept in case that it does not fit.
        gradients=(8.0 if schedule.gradient_accumulation > 1 else 4.0) * counts.trainable,
        optimizer=(2.0 if small_states else 8.0) * counts.trainable,
        activations=_activations(counts, method, schedule, largest.tokens)
        # Autocast keeps a copy of each trained weight in the base's precision for the pass.
        + (counts.trainable * 2.0 if counts.element_bytes == 2 else 0.0),
        logits=_logits(counts, largest, all_positions=gpu or bool(full and full.embeddings)),
        libraries=_LIBRARIES_GPU if gpu else _LIBRARIES_CPU,
    )


def _frozen_bytes(counts: Counts, method: Method, frozen: int) -> float:
    quantize = method.quantize if isinstance(method, LoraMethod) else "none"
    if quantize == "none" or not isinstance(method, LoraMethod):
        return float(frozen * counts.element_bytes)
    nf4 = _NF4_DOUBLE if method.double_quantize else _NF4
    each = nf4 if quantize == "nf4" else _INT8
    return (frozen - counts.linear) * counts.element_bytes + counts.linear * each


def _activations(counts: Counts, method: Method, schedule: Schedule, tokens: int) -> float:
    layer = _bytes_of_a_layer(counts, method)
    shape, size = counts.shape, counts.element_bytes
    if not schedule.gradient_checkpointing:
        return tokens * layer * shape.layers
    # Each layer's input is kept; one layer at a time is run again.
    return tokens * (size * shape.hidden * shape.layers + layer)


def _bytes_of_a_layer(counts: Counts, method: Method) -> float:
    """Return the bytes that one layer keeps of one token for the way back."""
    shape, size, full = counts.shape, counts.element_bytes, isinstance(method, FullMethod)
    normed = 4 * shape.head_norms
    hidden = 4 * shape.norms + 2 * size
    heads = 2 * size + normed
    if full:  # a trained module keeps its input, a frozen one does not
        hidden += 3 * shape.norms + 4
        heads += normed
    kept = hidden * shape.hidden + heads * (shape.queries + shape.keys) + 4 * size * shape.inner
    low_rank = size * counts.ranks
    if isinstance(method, LoraMethod) and method.dropout:
        low_rank += (size + 1) * counts.adapted_inputs  # a copy of each input, and its mask
    return kept + low_rank / shape.layers


def _logits(counts: Counts, largest: Pass, *, all_positions: bool) -> float:
    vocabulary = counts.shape.vocabulary
    if all_positions:
        return float(_SCORE_BYTES * largest.tokens * vocabulary)
    return float(
        (counts.element_bytes + _SUM_BYTES) * min(largest.labels * vocabulary, _CHUNK_ELEMENTS)
    )
