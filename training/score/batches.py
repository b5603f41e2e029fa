"""Batches: rows of about the same length, that go through a model together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from training.encode import Encoded

# Of a batch. 512 targets in a vocabulary of 262,144 are 268 MB of logits in bf16.
_TARGETS: Final = 512
_POSITIONS: Final = 8192


def batches(rows: Mapping[int, Encoded], *, size: int) -> Iterator[list[int]]:
    """Yield the keys of `rows` in batches of at most `size`, each key once, the longest first.

    So memory peaks at once, and the time that is left is never told too short.
    """
    order = sorted(rows, key=lambda n: (len(rows[n].target_ids), len(rows[n])), reverse=True)
    batch: list[int] = []
    width = targets = 0
    for n in order:
        width = max(width, len(rows[n]))
        count = len(batch) + 1
        if batch and (count > size or count * targets > _TARGETS or count * width > _POSITIONS):
            yield batch
            batch, width = [], len(rows[n])
        if not batch:
            targets = len(rows[n].target_ids)
        batch.append(n)
    if batch:
        yield batch
