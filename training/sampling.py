"""How often each text is seen in training: in proportion, evened out, weighed, or by stages."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple, TypeVar

from pydantic import Field, field_validator

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.manifest import Pair
from adapters.strict.section import Section
from training.corpus.segment import Mix, Segment

_Key = LanguagePair | None
_K = TypeVar("_K", bound=Hashable)
_Weight = Annotated[float, Field(gt=0)]
_StageWeight = Annotated[float, Field(ge=0)]


class Stage(Section):
    """A part of the training with shares of its own."""

    until: float = Field(
        gt=0, le=1, description="share of all training steps at which it ends", examples=[0.5]
    )
    domains: dict[str, _StageWeight] = Field(
        default={},
        description="as `domain_weights`, in place of them; 0 leaves a domain out of the stage",
    )


class SamplingRule(Section):
    """The share of a pair with n segments is `weight * n ** temperature`, over the sum of all.

    Within a pair, domains have theirs by the same formula; within a domain, sources have theirs
    by their weight. Where sources have weights, n counts each segment by that of its source.
    """

    temperature: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="exponent of a pair's size: 1.0 leaves shares as they are, 0.0 makes them "
        "equal (papers that write n ** (1 / T) mean the inverse)",
    )
    weights: dict[Pair, _Weight] = Field(
        default={}, description="factor of a pair's share, above 0; 1.0 where none is given"
    )
    domain_temperature: float = Field(
        default=1.0, ge=0, le=1, description="exponent of a domain's size, within each pair"
    )
    domain_weights: dict[str, _Weight] = Field(
        default={}, description="factor of a domain's share, above 0; 1.0 where none is given"
    )
    replay: float = Field(
        default=0.15,
        gt=0,
        le=0.5,
        description="share of an epoch that is text of sources with `replay: true`, if there are "
        "any; it makes the epoch longer",
    )
    stages: tuple[Stage, ...] = Field(
        default=(),
        strict=False,
        description="a curriculum; the last stage ends at 1.0",
        examples=["[{until: 0.5, domains: {medical: 0.2}}, {until: 1.0, domains: {general: 0.2}}]"],
    )

    @field_validator("stages")
    @classmethod
    def _end_one_after_another(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        ends = [0.0, *(stage.until for stage in stages)]
        if stages and (ends[-1] != 1.0 or any(a >= b for a, b in pairwise(ends))):
            raise ValueError(
                f"each stage ends after the one before, and the last one at 1.0, found "
                f"{', '.join(f'{end:g}' for end in ends[1:])}"
            )
        return stages


class Group(NamedTuple):
    """Segments that are drawn alike."""

    pair: _Key
    mix: Mix


def shares(sizes: Mapping[_Key, int], rule: SamplingRule) -> dict[_Key, int]:
    """Return how many segments of each pair an epoch has; as many in all as there are."""
    return _apportioned(_of_pairs(sizes, rule), sum(sizes.values()))


def sample(segments: Sequence[Segment], rule: SamplingRule, *, seed: int) -> list[Segment]:
    """Return one epoch's segments: those of a small pair several times, of a large one in part.

    The same segments, rule and seed give the same epoch. Without a rule all are kept once.
    Stages are not looked at, see `staged`.
    """
    if rule == SamplingRule() and not any(s.mix.replay or s.mix.weight != 1 for s in segments):
        return list(segments)
    pool = _Pool(segments, seed)
    counts = counts_of(pool.sizes, rule, domains=rule.domain_weights, total=pool.epoch(rule))
    return pool.draw(counts)


def staged(
    segments: Sequence[Segment],
    rule: SamplingRule,
    *,
    seed: int,
    epochs: float,
    most: int | None = None,
) -> list[list[Segment]]:
    """Return the segments of each stage of a training of `epochs` epochs.

    What a stage did not come to of a domain comes in the next one. Raises DataInvalid where a
    stage has no text.
    """
    pool = _Pool(segments, seed)
    total = round(pool.epoch(rule) * epochs)
    total = total if most is None else min(total, most)
    ends = [0, *(round(total * stage.until) for stage in rule.stages)]
    drawn = []
    for stage, (start, end) in zip(rule.stages, pairwise(ends), strict=True):
        domains = stage.domains or rule.domain_weights
        counts = counts_of(pool.sizes, rule, domains=domains, total=end - start)
        if not sum(counts.values()):
            raise DataInvalid(
                f"sampling.stages: the stage until {stage.until:g} has no text; name a domain "
                "that has some, or let the stage be longer"
            )
        drawn.append(pool.draw(counts))
    return drawn


def counts_of(
    sizes: Mapping[Group, int], rule: SamplingRule, *, domains: Mapping[str, float], total: int
) -> dict[Group, int]:
    """Return how many of `total` segments are of each group; `domains` has their weights."""
    masses = {group: size * group.mix.weight for group, size in sizes.items()}
    again = {group: mass for group, mass in masses.items() if group.mix.replay}
    own = {g: m for g, m in masses.items() if not g.mix.replay and _weight(g, domains)}
    replayed = 0 if not again else round(total * rule.replay) if own else total
    return {
        **_by_pair_and_domain(own, rule, domains=domains, total=total - replayed),
        **_apportioned(again, replayed),
    }


def _by_pair_and_domain(
    masses: Mapping[Group, float],
    rule: SamplingRule,
    *,
    domains: Mapping[str, float],
    total: int,
) -> dict[Group, int]:
    found: dict[Group, int] = {}
    of_pairs = _summed(masses, lambda group: group.pair)
    for pair, count in _apportioned(_of_pairs(of_pairs, rule), total).items():
        inside = {group: mass for group, mass in masses.items() if group.pair == pair}
        raw = {
            domain: domains.get(domain or "", 1.0) * mass**rule.domain_temperature
            for domain, mass in _summed(inside, lambda group: group.mix.domain).items()
        }
        for domain, part in _apportioned(raw, count).items():
            of_domain = {g: mass for g, mass in inside.items() if g.mix.domain == domain}
            found |= _apportioned(of_domain, part)
    return found


def _of_pairs(sizes: Mapping[_Key, float], rule: SamplingRule) -> dict[_Key, float]:
    return {
        pair: (rule.weights.get(pair, 1.0) if pair else 1.0) * size**rule.temperature
        for pair, size in sizes.items()
        if size
    }


def _weight(group: Group, domains: Mapping[str, float]) -> float:
    return domains.get(group.mix.domain or "", 1.0)


def _summed(masses: Mapping[Group, float], key: Callable[[Group], _K]) -> dict[_K, float]:
    sums: dict[_K, float] = defaultdict(float)
    for group, mass in masses.items():
        sums[key(group)] += mass
    return dict(sums)


def _apportioned(raw: Mapping[_K, float], total: int) -> dict[_K, int]:
    """Return whole numbers in the proportion of `raw` that sum to `total`, or none of none."""
    exact = {key: total * share / sum(raw.values()) for key, share in raw.items()}
    found = {key: int(share) for key, share in exact.items()}
    # What rounding down left over goes to the largest remainders.
    rest = sorted(exact, key=lambda key: (found[key] - exact[key], str(key)))
    for key in rest[: total - sum(found.values())]:
        found[key] += 1
    return found


class _Pool:
    """Groups of segments, and how far each of them has been drawn."""

    def __init__(self, segments: Sequence[Segment], seed: int) -> None:
        self._groups: dict[Group, list[Segment]] = defaultdict(list)
        for segment in segments:
            self._groups[Group(segment.pair, segment.mix)].append(segment)
        self._seed = seed
        self._drawn = Counter[Group]()

    @property
    def sizes(self) -> dict[Group, int]:
        """How many segments each group has."""
        return {group: len(segments) for group, segments in self._groups.items()}

    def epoch(self, rule: SamplingRule) -> int:
        """Return how many segments an epoch has: all but those of replay, and its share of them."""
        own = sum(size for group, size in self.sizes.items() if not group.mix.replay)
        total = sum(self.sizes.values())
        return total if own in {0, total} else round(own / (1 - rule.replay))

    def draw(self, counts: Mapping[Group, int]) -> list[Segment]:
        """Return so many segments of each group, those first that were drawn the least."""
        return [row for group in self._groups for row in self._of(group, counts.get(group, 0))]

    def _of(self, group: Group, count: int) -> list[Segment]:
        segments = self._groups[group]
        start, size = self._drawn[group], len(segments)
        self._drawn[group] = (start + count) % size
        times, rest = divmod(count, size)
        order = sorted(range(size), key=lambda n: _rank(segments[n], self._seed)) if rest else []
        once_more = sorted(order[(start + n) % size] for n in range(rest))
        return [*(segments * times), *(segments[n] for n in once_more)]


def _rank(segment: Segment, seed: int) -> bytes:
    key = f"{seed}\n{segment.pair}\n{segment.source}\n{segment.target}"
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
