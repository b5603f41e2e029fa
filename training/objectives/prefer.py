"""The data phase of preferences: each training and dev segment has a rejected translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapters.console import note, progress
from adapters.errors import DataInvalid
from training.corpus.preferences import require_rejected
from training.corpus.segment import Segment
from training.objective import CandidateRule, PreferenceObjective
from training.objectives.candidates import Candidates
from training.prepare import Prepared
from training.recipe import Recipe


def with_preferences(
    data: Prepared, recipe: Recipe, base: Path, objective: PreferenceObjective, start: Path | None
) -> Prepared:
    """Return `data` with preferences for train and dev, made where the recipe asks for it.

    Raises DataInvalid where a rejected translation is missing.
    """
    rule = objective.candidates
    if rule is None:
        require_rejected([*data.train, *data.dev], kind=objective.kind)
        return data
    sampled = data.train[: rule.segments]
    train = make_preferences(sampled, recipe, base, rule, start)
    dev = make_preferences(data.dev, recipe, base, rule, start)
    counts = {
        "train": len(train),
        "dev": len(dev),
        "undecided": len(sampled) + len(data.dev) - len(train) - len(dev),
    }
    report = replace(data.report, split={**data.report.split, **counts})
    return replace(data, train=train, dev=dev, report=report)


def make_preferences(
    segments: Sequence[Segment],
    recipe: Recipe,
    base: Path,
    rule: CandidateRule,
    adapter: Path | None,
) -> list[Segment]:
    """Return preferences of `segments` with a bar of the candidates. Raises DataInvalid if none."""
    lacking = sum(segment.rejected is None for segment in segments)
    with progress("candidates", total=lacking * rule.per_segment) as advance:
        made = Candidates(recipe, base, rule, adapter, advance).preferences(segments)
    if segments and not made:
        raise DataInvalid(
            f"{recipe.id}: none of the {rule.per_segment} candidates of {lacking} segments is "
            f"{rule.min_margin:g} chrF++ points below what is chosen; lower min_margin, or raise "
            "temperature or the number of candidates"
        )
    left_out = len(segments) - len(made)
    note(f"candidates: {len(made)} preferences, {left_out} segments without a clear difference")
    return made
