"""Profile: what segments that stream by look like, in plain numbers and a few samples."""

from __future__ import annotations

import heapq
import zlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Final

from training.corpus.segment import Segment
from training.inspection.histogram import CHARS, RATIOS, Histogram, together
from training.inspection.lengths import Lengths

_SAMPLES: Final = 8
# Pair, domain and part, empty where nobody said it.
_Kind = tuple[str, str, str]


@dataclass
class _Size:
    segments: int = 0
    source_chars: int = 0
    target_chars: int = 0

    def add(self, segment: Segment) -> None:
        self.segments += 1
        self.source_chars += len(segment.source)
        self.target_chars += len(segment.target)


class _Samples:
    """The segments with the lowest checksums: as good as drawn, and the same in every run."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Segment]] = []
        self._count = 0

    def add(self, segment: Segment) -> None:
        self._count += 1
        checksum = zlib.crc32(segment.source.encode("utf-8", "surrogatepass"))
        entry = (-checksum, -self._count, segment)
        if len(self._heap) < _SAMPLES:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def to_json(self) -> list[dict[str, Any]]:
        return [segment.to_json() for *_, segment in sorted(self._heap, reverse=True)]


class Profile:
    """Of any number of segments in bounded memory."""

    def __init__(self) -> None:
        self._sizes: dict[_Kind, _Size] = defaultdict(_Size)
        self._samples: dict[str, _Samples] = defaultdict(_Samples)
        self._lengths = {"source": Lengths(), "target": Lengths()}
        self._bins = {"source": Histogram(CHARS), "target": Histogram(CHARS)}
        self._ratios = Histogram(RATIOS)

    def add(self, part: str, segment: Segment) -> None:
        """Take note of a segment that is in `part`."""
        self._sizes[str(segment.pair or ""), segment.domain or "", part].add(segment)
        self._samples[part].add(segment)
        for side, text in (("source", segment.source), ("target", segment.target)):
            self._lengths[side].add(len(text))
            self._bins[side].add(len(text))
        self._ratios.add(len(segment.target) / max(1, len(segment.source)))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values.

        sizes: by pair, domain and part. chars: lengths in figures. histograms: of lengths, and of
        target characters per source character. samples: by part.
        """
        return {
            "sizes": [
                {"pair": pair, "domain": domain, "part": part, **asdict(size)}
                for (pair, domain, part), size in self._sizes.items()
            ],
            "chars": {side: lengths.to_json() for side, lengths in self._lengths.items()},
            "histograms": {
                "chars": together(**self._bins),
                "ratio": together(segments=self._ratios),
            },
            "samples": {part: samples.to_json() for part, samples in self._samples.items()},
        }
