"""The native LoRA kernel (native/lora.cpp), called through its plain C interface."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

LIBRARY: Final = "liblora.so"
_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "dragoman_lora_module": (_POINTER, (_INT, _INT, _INT, _INT, _POINTER, _POINTER, _POINTER)),
    "dragoman_lora_free": (None, (_POINTER,)),
    "dragoman_lora_fill": (_INT, (_POINTER, _INT, _INT)),
    "dragoman_lora_holds": (_INT, (_POINTER, _INT)),
    "dragoman_lora_apply": (
        _INT,
        (_POINTER, _POINTER, _LONG, _POINTER, _LONG, _POINTER, _INT, _POINTER, _INT),
    ),
    "dragoman_lora_isa": (ctypes.c_char_p, ()),
    "dragoman_lora_portable": (None, (_INT,)),
}

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Rows:
    """The rows of one step that have an adapter, grouped by slot.

    groups: int32 [groups, 3] of (slot, first, count); rows: int32, rows[first : first + count] are
    the group's rows in the batch; size: rows of the whole batch, those without adapter included.
    """

    groups: Int32s
    rows: Int32s
    size: int

    @classmethod
    def of(cls, slots: npt.NDArray[np.int64]) -> Rows:
        """Group a batch by its rows' slots; -1 is a row without adapter."""
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        skipped = int(np.searchsorted(ordered, 0))
        order, ordered = order[skipped:], ordered[skipped:]
        found, first, count = np.unique(ordered, return_index=True, return_counts=True)
        groups = np.stack([found, first, count], axis=1).astype(np.int32)
        return cls(np.ascontiguousarray(groups), order.astype(np.int32), len(slots))

    def by_slot(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Yield each slot in use with its rows."""
        for slot, first, count in self.groups.tolist():
            yield slot, self.rows[first : first + count].astype(np.int64)


class LoraModule:
    """The slots' weights of one module, packed for the kernel; built over vLLM's own tensors."""

    def __init__(
        self, library: ctypes.CDLL, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]
    ) -> None:
        """Take each slice's A [slots, 1, ranks, inputs] and B [slots, 1, outputs, ranks].

        All are bfloat16 and contiguous.
        """
        slots, _, self._max_rank, inputs = a[0].shape
        # Held: the kernel knows addresses only.
        self._weights = (*a, *b)
        self._library = library
        addresses = [np.array([t.data_ptr() for t in each], dtype=np.uintp) for each in (a, b)]
        widths = np.array([each.shape[2] for each in b], dtype=np.int32)
        self._handle = library.dragoman_lora_module(
            slots, inputs, self._max_rank, len(b), *(each.ctypes.data for each in addresses),
            widths.ctypes.data,
        )  # fmt: skip
        if not self._handle:
            raise MemoryError("the LoRA kernel found no memory")

    def fill(self, slot: int, rank: int | None = None) -> None:
        """Take over what now lies in a slot; beyond `rank` it holds zeros, if that is known."""
        if self._library.dragoman_lora_fill(
            self._handle, slot, self._max_rank if rank is None else rank
        ):
            raise MemoryError(f"the LoRA kernel found no memory to pack slot {slot}")

    def holds(self, slot: int) -> bool:
        """Return whether what was packed is, by samples, what lies in the slot."""
        return bool(self._library.dragoman_lora_holds(self._handle, slot))

    def apply(
        self, y: tuple[int, int], x: tuple[int, int], step: tuple[int, int, int, int]
    ) -> None:
        """Add every group's LoRA to y; y and x are (address, elements from row to row).

        step is (address of groups, groups, address of rows, rows), made once per step.
        """
        groups, group_count, rows, row_count = step
        failed = self._library.dragoman_lora_apply(
            self._handle, x[0], x[1], y[0], y[1], groups, group_count, rows, row_count
        )
        if failed:
            raise MemoryError("the LoRA kernel found no memory for a step")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.dragoman_lora_free(self._handle)


@cache
def load_library() -> ctypes.CDLL | None:
    """Return the kernel, or None where it was not built or does not load.

    It takes OpenMP's functions from what torch has loaded, so torch is imported first: a second
    OpenMP runtime in the process would mean twice the threads.
    """
    importlib.import_module("torch")
    path = Path(__file__).with_name("native") / LIBRARY
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library
