"""A spool of segments that nobody cleaned, and how they are divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from training.build.division import FREE, By, divide
from training.build.judge import Chunk, Judge
from training.build.leaks import without_leaks
from training.build.spool import Spool
from training.clean.rules import CleanRules
from training.corpus.segment import Segment
from training.corpus.source import PARTS, Part
from training.split import SplitRule


def no_rules() -> CleanRules:
    """Return rules of which each is switched off."""
    off: dict[str, Any] = {
        name: False if field.annotation is bool else () if field.default == () else None
        for name, field in CleanRules.model_fields.items()
    }
    return CleanRules.model_validate(off)


def spool_of(
    folder: Path,
    free: list[Segment],
    given: Mapping[Part, list[Segment]] = MappingProxyType({}),
    *,
    seed: int = 0,
) -> Spool:
    spool, judge = Spool(folder), Judge(no_rules(), seed)
    spool.append(judge(Chunk(0, free)), FREE)
    for part, segments in given.items():
        spool.append(judge(Chunk(0, segments)), PARTS.index(part))
    return spool


@dataclass(frozen=True)
class Parts:
    train: list[Segment]
    dev: list[Segment]
    test: list[Segment]
    by: By
    removed: dict[Part, int]


def split(
    folder: Path,
    free: list[Segment],
    rule: SplitRule,
    given: Mapping[Part, list[Segment]] = MappingProxyType({}),
) -> Parts:
    with spool_of(folder, free, given, seed=rule.seed) as spool:
        kept = np.ones(len(spool.columns), dtype=bool)
        division = divide(spool.columns, kept, rule, spool.pairs)
        clear, removed = without_leaks(spool, division, rule.near)
        parts = {
            part: [spool.segment(number) for number in numbers.tolist()]
            for part, numbers in clear.parts.items()
        }
    return Parts(parts["train"], parts["dev"], parts["test"], clear.by, removed)
