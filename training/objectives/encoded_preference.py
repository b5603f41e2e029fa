"""Preferences as ids: two rows of the same prompt, made by the encoder that SFT uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from training.corpus.segment import Segment
from training.encode import Encoded, Encoder, SegmentTooLong


@dataclass(frozen=True)
class EncodedPreference:
    """A prompt with the translation that is to be preferred, and with the other one."""

    chosen: Encoded
    rejected: Encoded

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


def encode_preferences(
    encoder: Encoder, segments: Iterable[Segment]
) -> tuple[list[EncodedPreference], int]:
    """Return the preferences of which both rows fit, and how many do not."""
    kept: list[EncodedPreference] = []
    too_long = 0
    for segment in segments:
        if segment.rejected is None:
            raise ValueError(f"{segment.origin} has no rejected translation")
        try:
            rejected = encoder.encode(replace(segment, target=segment.rejected))
            kept.append(EncodedPreference(encoder.encode(segment), rejected))
        except SegmentTooLong:
            too_long += 1
    return kept, too_long
