"""Clean report: how many pairs each rule dropped, with a few of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from training.corpus.segment import Segment

_SAMPLES_PER_RULE: Final = 5


@dataclass
class CleanReport:
    """How many pairs were read, kept and dropped by each rule, with a few of the dropped."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[Segment]] = field(default_factory=dict)

    @classmethod
    def of_rules(cls, names: Iterable[str]) -> Self:
        """Return the report of nothing yet, with the rules in order."""
        dropped = dict.fromkeys(names, 0)
        return cls(dropped=dropped, samples={name: [] for name in dropped})

    def keep(self, count: int) -> None:
        """Count pairs that no rule dropped."""
        self.read += count
        self.kept += count

    def drop(self, rule: str, segment: Segment) -> None:
        """Count a pair that `rule` dropped."""
        self.read += 1
        self._drop(rule, 1, [segment])

    def drop_kept(self, rule: str, count: int, samples: Iterable[Segment]) -> None:
        """Count pairs that were kept and that `rule` dropped after all."""
        self.kept -= count
        self._drop(rule, count, samples)

    def counts(self) -> dict[str, Any]:
        """Return the report without the samples as plain JSON values."""
        return {"read": self.read, "kept": self.kept, "dropped": dict(self.dropped)}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            **self.counts(),
            "samples": {name: [s.to_json() for s in kept] for name, kept in self.samples.items()},
        }

    def add(self, other: CleanReport) -> None:
        """Add the report on more text."""
        self.keep(other.kept)
        self.read += other.read - other.kept
        for name, count in other.dropped.items():
            self._drop(name, count, other.samples.get(name, ()))

    def _drop(self, rule: str, count: int, samples: Iterable[Segment]) -> None:
        self.dropped[rule] = self.dropped.get(rule, 0) + count
        shown = self.samples.setdefault(rule, [])
        for segment in samples:
            if len(shown) < _SAMPLES_PER_RULE:
                shown.append(segment)
