"""How often each language pair is seen in training: in proportion to its text, or evened out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from adapters.ids import LanguagePair
from adapters.manifest import Pair
from adapters.strict.section import Section
from training.corpus.segment import Segment

_Key = LanguagePair | None


class SamplingRule(Section):
    """The share of a pair with n segments is `weight * n ** temperature`, over the sum of all."""

    temperature: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="exponent of a pair's size: 1.0 leaves shares as they are, 0.0 makes them "
        "equal (papers that write n ** (1 / T) mean the inverse)",
    )
    weights: dict[Pair, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="factor of a pair's share, above 0; 1.0 where none is given"
    )


def shares(sizes: Mapping[_Key, int], rule: SamplingRule) -> dict[_Key, int]:
    """Return how many segments of each pair an epoch has; as many in all as there are."""
    total = sum(sizes.values())
    raw = {
        pair: (rule.weights.get(pair, 1.0) if pair else 1.0) * size**rule.temperature
        for pair, size in sizes.items()
        if size
    }
    exact = {pair: total * share / sum(raw.values()) for pair, share in raw.items()}
    found = {pair: int(share) for pair, share in exact.items()}
    # What rounding down left over goes to the largest remainders.
    rest = sorted(exact, key=lambda pair: (found[pair] - exact[pair], str(pair)))
    for pair in rest[: total - sum(found.values())]:
        found[pair] += 1
    return found


def sample(segments: Sequence[Segment], rule: SamplingRule, *, seed: int) -> list[Segment]:
    """Return one epoch's segments: those of a small pair several times, of a large one in part.

    The same segments, rule and seed give the same epoch. Without a rule all are kept once.
    """
    if rule == SamplingRule():
        return list(segments)
    groups: dict[_Key, list[Segment]] = defaultdict(list)
    for segment in segments:
        groups[segment.pair].append(segment)
    wanted = shares({pair: len(group) for pair, group in groups.items()}, rule)
    return [row for pair, group in groups.items() for row in _drawn(group, wanted[pair], seed)]


def _drawn(group: list[Segment], count: int, seed: int) -> list[Segment]:
    times, rest = divmod(count, len(group))
    order = sorted(range(len(group)), key=lambda n: _rank(group[n], seed))
    return [*(group * times), *(group[n] for n in sorted(order[:rest]))]


def _rank(segment: Segment, seed: int) -> bytes:
    key = f"{seed}\n{segment.pair}\n{segment.source}\n{segment.target}"
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
