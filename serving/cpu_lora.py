"""LoRA on the CPU: rows grouped by adapter once per step, then one native call per module.

vLLM's own CPU code gathers a copy of both weights for every token and goes through float32 and
back, slice by slice; it costs two thirds of the base's throughput (docs/benchmarks.md).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
import torch

from serving import markers
from serving.cpu_kernel import LoraModule, Rows, load_library
from serving.vllm_compat import PunicaWrapperCPU

logger = logging.getLogger("vllm.dragoman")


# A compiled graph calls an operator of torch, which reaches the wrapper by this number.
_WRAPPERS: Final[WeakValueDictionary[int, GroupedPunicaWrapper]] = WeakValueDictionary()


class GroupedPunicaWrapper(PunicaWrapperCPU):
    """vLLM's seam for LoRA on a CPU: the kernel for linear layers, torch for all others.

    vLLM 0.32's own adds the last slot's adapter to rows that have none: their index is -1.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what the base class takes."""
        super().__init__(*arguments, **options)
        self._library = load_library()
        self._key = len(_WRAPPERS)
        _WRAPPERS[self._key] = self
        self._modules: dict[int, _Module] = {}
        self._rows = Rows.of(np.empty(0, dtype=np.int64))
        self._prompt_slots = np.empty(0, dtype=np.int64)
        self._step = (0, 0, 0, 0)
        self._used: list[int] = []
        self._slot_ids: list[int | None] = []
        # The highest rank in each slot, where somebody knows: looking for it takes milliseconds.
        self.slot_ranks: Mapping[int, int] = {}
        isa = self._library.dragoman_lora_isa().decode() if self._library else "torch"
        logger.info("LoRA is computed by dragoman's kernel (%s)", isa)
        markers.set_marker("cpu_lora")

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **_: Any,
    ) -> None:
        """Take in which row of the next step wants which adapter, and which slot that is in."""
        slot_of = {lora: slot for slot, lora in enumerate(lora_index_to_id) if lora is not None}
        token_slots = _slots(mapping.index_mapping, slot_of)
        self._prompt_slots = _slots(mapping.prompt_mapping, slot_of)
        self._note_indices(token_slots, self._prompt_slots, vocab_size)
        self._slot_ids = list(lora_index_to_id)
        self._rows = Rows.of(token_slots)
        groups, rows = self._rows.groups, self._rows.rows
        self._step = (groups.ctypes.data, len(groups), rows.ctypes.data, len(rows))
        # A list of its own for each mapping: by its identity a module knows that it is up to date.
        self._used = groups[:, 0].tolist()

    def add_lora_linear(  # noqa: PLR0913, PLR0917 - vLLM's signature
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: Any = None,
        **options: Any,
    ) -> None:
        """Add each row's LoRA to y [rows, outputs], in place; x is [rows, inputs]."""
        if torch.compiler.is_compiling():
            torch.ops.dragoman.add_lora(y, x, list(lora_a_stacked), list(lora_b_stacked), self._key)
        else:
            self.add(y, x, lora_a_stacked, lora_b_stacked)

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        """Add x @ B to y; x [rows, ranks] is what vLLM looked up in A."""
        for slot, rows in self._rows.by_slot():
            y[rows] += x[rows].to(y.dtype) @ lora_b_stacked[slot].squeeze(0).T.to(y.dtype)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,
    ) -> None:
        """Add the head's LoRA to the logits of the rows that are sampled."""
        sampled = Rows.of(self._prompt_slots)
        add_by_torch(y, x, [lora_a_stacked], [lora_b_stacked], sampled)

    def add(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        a_stacked: Sequence[torch.Tensor],
        b_stacked: Sequence[torch.Tensor],
    ) -> None:
        """Add each row's LoRA to y, in place."""
        if not self._used:
            return
        address = a_stacked[0].data_ptr()
        module = self._modules.get(address)
        if module is None:
            module = _Module(self._library, a_stacked, b_stacked)
            self._modules[address] = module
        native = module.refresh(self._used, self._slot_ids, self.slot_ranks)
        if native is not None and x.stride(1) == y.stride(1) == 1 and x.dtype == y.dtype:
            native.apply((y.data_ptr(), y.stride(0)), (x.data_ptr(), x.stride(0)), self._step)
        else:
            add_by_torch(y, x, a_stacked, b_stacked, self._rows)

    def _note_indices(self, tokens: Any, prompts: Any, vocab_size: int) -> None:
        """Fill what vLLM's own code for embeddings, heads and sharded layers reads."""
        token_slots, prompt_slots = torch.from_numpy(tokens), torch.from_numpy(prompts)
        self._token_lora_indices[: len(tokens)].copy_(token_slots)
        self._embeddings_indices[: len(tokens)].copy_(token_slots.clamp_min(0) * vocab_size)
        self._sampler_indices[: len(prompts)].copy_(prompt_slots)
        self.indices_len[:] = [len(tokens), len(prompts), len(prompts), len(tokens)]
        self.no_lora = bool((tokens < 0).all())
        # So that the base class takes its index of each token, which needs no further preparation.
        self.is_prefill = False


class _Module:
    """One module's weights in all slots, and which adapters the kernel has packed."""

    def __init__(self, library: Any, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> None:
        self.native = LoraModule(library, a, b) if library and _fits_kernel(a, b) else None
        self._written_to = a[0]
        self._filled: dict[int, tuple[int | None, int]] = {}
        self._fresh: tuple[list[int], int] = ([], -1)

    def refresh(
        self, used: list[int], slot_ids: list[int | None], ranks: Mapping[int, int]
    ) -> LoraModule | None:
        """Return the kernel's view with every used slot packed as it is now; None: use torch."""
        # torch counts the writes to a tensor, of whichever slot.
        written = self._written_to._version
        if self.native is not None and not (self._fresh[0] is used and self._fresh[1] == written):
            for slot in used:
                self._pack(self.native, slot, (slot_ids[slot], written), ranks.get(slot))
            self._fresh = (used, written)
        return self.native

    def _pack(
        self, native: LoraModule, slot: int, now: tuple[int | None, int], rank: int | None
    ) -> None:
        seen = self._filled.get(slot)
        if seen == now:
            return
        if seen is None or seen[0] != now[0] or not native.holds(slot):
            native.fill(slot, rank)
        self._filled[slot] = now


def _fits_kernel(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> bool:
    return a[0].shape[-1] % 2 == 0 and all(
        weight.dtype == torch.bfloat16 and weight.is_contiguous() for weight in (*a, *b)
    )


def _add_lora(
    y: torch.Tensor,
    x: torch.Tensor,
    a_stacked: list[torch.Tensor],
    b_stacked: list[torch.Tensor],
    wrapper: int,
) -> None:
    _WRAPPERS[wrapper].add(y, x, a_stacked, b_stacked)


_LIBRARY: Final = torch.library.Library("dragoman", "DEF")
_LIBRARY.define("add_lora(Tensor(a!) y, Tensor x, Tensor[] a, Tensor[] b, int wrapper) -> ()")
_LIBRARY.impl("add_lora", _add_lora, "CPU")
_LIBRARY.impl("add_lora", lambda *_: None, "Meta")


def add_by_torch(
    y: torch.Tensor,
    x: torch.Tensor,
    a_stacked: Sequence[torch.Tensor],
    b_stacked: Sequence[torch.Tensor],
    rows: Rows,
) -> None:
    """Do what the kernel does by torch: where there is no kernel, or in other precisions."""
    for slot, of_group in rows.by_slot():
        x_GI = x[of_group]
        offset = 0
        for a, b in zip(a_stacked, b_stacked, strict=True):
            hidden_GR = (x_GI @ a[slot, 0].T.to(x.dtype)).to(y.dtype)
            y[of_group, offset : offset + b.shape[2]] += hidden_GR @ b[slot, 0].T.to(y.dtype)
            offset += b.shape[2]


def _slots(lora_ids: Sequence[int], slot_of: dict[int, int]) -> Any:
    """Return each row's slot, int64, -1 where it wants no adapter."""
    ids = np.asarray(lora_ids, dtype=np.int64)
    slots = np.full(len(ids), -1, dtype=np.int64)
    for lora in np.unique(ids).tolist():
        if lora > 0:
            slots[ids == lora] = slot_of[lora]
    return slots
