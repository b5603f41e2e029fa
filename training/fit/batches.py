"""The order of training: batches of like length, shuffled, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch.utils.data import Sampler

# Rows are sorted within this many batches: enough to leave little padding, few enough that a
# batch is not the same company in every epoch.
_POOL: Final = 32


class LengthGrouped(Sampler[int]):
    """Indices such that every `batch_size` in a row are of like length; batches come shuffled.

    Unlike transformers' sampler, a pool's batches do not run from long to short, and the order
    follows from (seed, epoch) alone, so a resumed run sees what the unbroken one would have seen.
    Of several processes (`ranks`), each has its share of every batch, and all have as many
    batches: one that the last rows leave with nothing gets the index after the last row.
    `stages` are numbers of rows: each is shuffled by itself, and comes after the one before.
    """

    def __init__(  # noqa: PLR0913 - the batches, and whose they are
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        stages: Sequence[int] = (),
    ) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._ranks = ranks
        self._stages = stages or (len(lengths),)
        self._epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self._lengths), self._batch_size)
        own = len(range(self._rank, rest, self._ranks))
        return whole * self._batch_size // self._ranks + (max(1, own) if rest else 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; accelerate calls this."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        start, rest = 0, list[int]()
        for stage in self._stages:
            shuffled = torch.randperm(stage, generator=generator).tolist()
            whole, rest = self._batches([*rest, *(start + row for row in shuffled)])
            start += stage
            for number in torch.randperm(len(whole), generator=generator).tolist():
                yield from whole[number][self._rank :: self._ranks]
        if rest:
            yield from rest[self._rank :: self._ranks] or [len(self._lengths)]

    def _batches(self, order: Sequence[int]) -> tuple[list[list[int]], list[int]]:
        """Return the batches of rows in this order, and what is left of them."""
        size = self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), size * _POOL):
            pool = sorted(order[start : start + size * _POOL], key=self._lengths.__getitem__)
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        # A short batch anywhere but at the end would shift every batch after it.
        whole = [b for b in batches if len(b) == size]
        rest = [i for b in batches if len(b) < size for i in b]
        return whole, rest
