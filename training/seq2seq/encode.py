"""Segments as two rows of ids: what the encoder reads, and what the decoder is to write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from training.encode import EncodeReport, SegmentTooLong


class TwoTexts(Protocol):
    """A source text and its translation."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...


class PairCodec(Protocol):
    """What the encoder below needs of a tokenizer."""

    def encode_source(self, text: str) -> list[int]:
        """Return what the encoder reads."""
        ...

    def encode_target(self, text: str) -> list[int]:
        """Return what the decoder is to write."""
        ...


@dataclass(frozen=True)
class EncodedPair:
    """One training example; both sides end with the end token."""

    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.source_ids) + len(self.target_ids)


@dataclass(frozen=True)
class PairEncoder:
    """Turns pairs into ids. `max_length` is of each side: they never stand in one row."""

    tokenizer: PairCodec
    max_length: int

    def encode(self, pair: TwoTexts) -> EncodedPair:
        """Return both sides. Raises SegmentTooLong: never truncates."""
        encoded = EncodedPair(
            tuple(self.tokenizer.encode_source(pair.source)),
            tuple(self.tokenizer.encode_target(pair.target)),
        )
        longest = max(len(encoded.source_ids), len(encoded.target_ids))
        if longest > self.max_length:
            raise SegmentTooLong(
                f"{pair.source[:60]!r}: {longest} tokens on one side, at most {self.max_length}; "
                "raise schedule.max_length to keep it, as far as the base reads"
            )
        return encoded

    def encode_all(self, pairs: Iterable[TwoTexts]) -> tuple[list[EncodedPair], EncodeReport]:
        """Return the pairs that fit, in their order, and the count of those that do not."""
        kept: list[EncodedPair] = []
        too_long = 0
        for pair in pairs:
            try:
                kept.append(self.encode(pair))
            except SegmentTooLong:
                too_long += 1
        sides = [len(side) for e in kept for side in (e.source_ids, e.target_ids)]
        return kept, EncodeReport(
            kept=len(kept),
            too_long=too_long,
            prompt_tokens=sum(len(e.source_ids) for e in kept),
            target_tokens=sum(len(e.target_ids) for e in kept),
            longest=max(sides, default=0),
        )
