"""Columns: a few numbers for each segment, on disk; one column at a time is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.build.near import BANDS

Column = NDArray[Any]
Mask = NDArray[np.bool_]
Indices = NDArray[np.uint32]

NEAR: Final = tuple(f"near{band}" for band in range(BANDS))
_BLOCK: Final = 2**18
# length: bytes of its line in the spool. text, source: what makes it a duplicate. leak, leak_back:
# the source and the target as leakage sees them. by_…: ranks of the units that a split may take.
HASHES: Final = (
    "text", "source", "leak", "leak_back", "by_document", "by_source", "by_target", *NEAR,
)  # fmt: skip
_TYPES: Final[Mapping[str, type[np.generic]]] = {
    "length": np.uint32,
    "part": np.uint8,
    "pair": np.uint16,
    **dict.fromkeys(HASHES, np.uint64),
}


class Columns:
    """Rows are appended to all columns at once, and read a column at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files = {name: (folder / name).open("wb") for name in _TYPES}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: Mapping[str, Column]) -> None:
        """Append to each column; all have the same number of rows."""
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(rows[name], dtype=_TYPES[name]).data)
        self._rows += len(rows["length"])

    def load(self, name: str) -> Column:
        """Return a column, N numbers."""
        self._files[name].flush()
        return np.fromfile(self._folder / name, dtype=_TYPES[name])

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def later(values: Column) -> Mask:
    """Return for each value whether an earlier row has it, too."""
    # As np.unique does it, with half of its memory.
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_same = ordered[1:] == ordered[:-1]
    del ordered
    found = np.zeros(len(values), dtype=bool)
    found[order[1:][is_same]] = True
    return found


def among(values: Column, known: Column) -> Mask:
    """Return for each value whether `known`, which may be unsorted, has it."""
    found = np.zeros(len(values), dtype=bool)
    if not len(known):
        return found
    ordered = np.unique(known)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        places = np.minimum(np.searchsorted(ordered, block), len(ordered) - 1)
        found[start : start + _BLOCK] = ordered[places] == block
    return found


def indices(mask: Mask) -> Indices:
    """Return where `mask` is true."""
    return np.flatnonzero(mask).astype(np.uint32)
