"""Segments as the rows that a base and an objective read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.errors import RecipeInvalid
from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.encode import Encoder
from training.objective import PreferenceObjective
from training.objectives.encoded_preference import encode_preferences
from training.recipe import Recipe
from training.seq2seq.ask import encoder_for
from training.seq2seq.family import Family, family_of
from training.text_run import packer_of


def rows_of(recipe: Recipe, base: Path, segments: Sequence[Segment]) -> tuple[Any, int]:
    """Return the rows, and how many segments were left out because they are too long.

    Raises RecipeInvalid for what a sequence-to-sequence base cannot be taught.
    """
    if (family := family_of(base)) is not None:
        check_pair_recipe(recipe, family)
        pair_rows, report = encoder_for(recipe, base, family).encode_all(segments)
        return pair_rows, report.too_long
    if recipe.objective.kind == "monolingual":
        rows, report = packer_of(recipe, base).pack(segment.target for segment in segments)
        return rows, report.too_long
    encoder = Encoder(
        prompt=recipe.prompt.complete(base),
        pair=recipe.pair,
        tokenizer=BaseTokenizer.load(base),
        max_length=recipe.schedule.max_length,
    )
    if isinstance(recipe.objective, PreferenceObjective):
        return encode_preferences(encoder, segments)
    rows, report = encoder.encode_all(segments)
    return rows, report.too_long


def check_pair_recipe(recipe: Recipe, family: Family) -> None:
    """Raise RecipeInvalid for what a sequence-to-sequence base cannot be taught."""
    if recipe.objective.kind != "sft":
        raise RecipeInvalid(
            f"objective.kind: {recipe.objective.kind} is for causal bases, {recipe.base} is "
            f"{family}; use sft"
        )
    if recipe.augment.share_of("examples"):
        raise RecipeInvalid(
            f"augment.examples: a {family} base reads one text, no examples; remove them"
        )
    if recipe.evaluate.elsewhere:
        raise RecipeInvalid(
            f"evaluate.elsewhere: forgetting is measured of causal bases, {recipe.base} is "
            f"{family}; remove it"
        )
    if len(recipe.pairs) > 1:
        raise RecipeInvalid(
            f"pairs: a {family} base is trained for one pair a recipe, found {len(recipe.pairs)}; "
            "write a recipe for each"
        )
