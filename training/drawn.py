"""Drawn: the rows that a fit is given, out of the training part: sampled, augmented, encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid
from training.augment.augmenter import Augmenter
from training.corpus.segment import Segment
from training.fit.schedule import Schedule
from training.recipe import Recipe
from training.rows import rows_of
from training.sampling import sample, staged


@dataclass(frozen=True)
class Drawn:
    """Rows in the order of the stages, with the number of each stage's, if there are several.

    `schedule` is that of a fit over these rows: with stages, an epoch is the whole training.
    `augmented` tells how many segments were changed, by kind; `segments` is how many were drawn.
    """

    rows: Any
    too_long: int
    stages: tuple[int, ...]
    schedule: Schedule
    segments: int
    augmented: Mapping[str, int]

    def told(self) -> str:
        """Return what augmentation did, for people; nothing where it did nothing."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.augmented.items() if count)
        return kinds and f"augment: of {self.segments} segments {kinds}"


def draw(recipe: Recipe, base: Path, train: Sequence[Segment]) -> Drawn:
    """Return what a fit of `recipe` on the base in folder `base` learns from `train`.

    Raises DataInvalid where there is nothing but replay, a stage has no text, or terms cannot be
    read; RecipeInvalid for what the base cannot be taught.
    """
    schedule, parts = _parts(recipe, train)
    augment = _augmenter(recipe, train)
    if augment is not None:
        parts = [[augment(segment) for segment in part] for part in parts]
    encoded = [rows_of(recipe, base, part) for part in parts]
    return Drawn(
        rows=[row for rows, _ in encoded for row in rows],
        too_long=sum(too_long for _, too_long in encoded),
        stages=tuple(len(rows) for rows, _ in encoded) if len(encoded) > 1 else (),
        schedule=schedule,
        segments=sum(map(len, parts)),
        augmented=augment.counts if augment else {},
    )


def _parts(recipe: Recipe, train: Sequence[Segment]) -> tuple[Schedule, list[list[Segment]]]:
    rule, schedule = recipe.sampling, recipe.schedule
    if train and all(segment.mix.replay for segment in train):
        raise DataInvalid(
            f"{recipe.id}: nothing but replay is left to train on; see what became of the other "
            "sources (`dragoman data inspect`), or remove `replay: true`"
        )
    if not rule.stages:
        return schedule, [sample(train, rule, seed=recipe.seed)]
    # Stages are shares of the steps that are made, not of those that are left out.
    most = schedule.max_steps and schedule.max_steps * schedule.rows_per_step
    parts = staged(train, rule, seed=recipe.seed, epochs=schedule.epochs, most=most)
    return schedule.model_copy(update={"epochs": 1.0}), parts


def _augmenter(recipe: Recipe, train: Sequence[Segment]) -> Augmenter | None:
    if not recipe.augment.is_on:
        return None
    return Augmenter.of(
        recipe.augment, train, pairs=recipe.pairs, folder=recipe.folder, seed=recipe.seed
    )
