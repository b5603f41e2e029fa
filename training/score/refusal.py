"""What cannot be scored by the likelihood of a causal model, told before any text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adapters.errors import BaseModelError, RecipeInvalid
from training.recipe import Recipe
from training.seq2seq.family import family_of

_PAIRS: Final = "sft"


def refuse_other_objectives(recipe: Recipe) -> None:
    """Raise RecipeInvalid unless the recipe learns a target from its source."""
    if recipe.objective.kind != _PAIRS:
        raise RecipeInvalid(
            f"{recipe.id}: objective.kind is {recipe.objective.kind}, expected {_PAIRS}: a score "
            "is of one source and one target; name the text in a recipe of that objective"
        )


def refuse_seq2seq(base: Path) -> None:
    """Raise BaseModelError unless the base in folder `base` is a causal model."""
    if (family := family_of(base)) is not None:
        raise BaseModelError(
            f"{base.name}: a sequence-to-sequence base ({family}), expected a causal model, which "
            "also says how likely a target is without its source; add --base gemma3-270m"
        )
