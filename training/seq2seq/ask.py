"""How a recipe asks a sequence-to-sequence base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.base_model import read_config
from adapters.errors import RecipeInvalid
from training.recipe import PromptSection, Recipe
from training.seq2seq.family import Family

if TYPE_CHECKING:
    from training.seq2seq.encode import PairEncoder
    from training.seq2seq.tokenizer import PairTokenizer

# What T5 was trained to be asked (Raffel et al. 2020, appendix D).
_T5_TEMPLATE: Final = "translate {source} to {target}: {text}"


def template_for(prompt: PromptSection, family: Family) -> str:
    """Return what stands around a source: `prompt.user`, or the family's own words.

    Raises RecipeInvalid for what only a causal base can be told.
    """
    for key in ("system", "examples"):
        if getattr(prompt, key):
            raise RecipeInvalid(
                f"prompt.{key}: a {family} base reads one text, without roles or examples; "
                "remove the key (prompt.user may hold words before {text})"
            )
    if family is Family.T5 and "user" not in prompt.model_fields_set:
        return _T5_TEMPLATE
    return prompt.user


def tokenizer_for(recipe: Recipe, base: Path, family: Family) -> PairTokenizer:
    """Return the base's tokenizer, asking as the recipe says."""
    from training.seq2seq.tokenizer import PairTokenizer

    template = template_for(recipe.prompt, family)
    return PairTokenizer.load(base, family=family, pair=recipe.pair, template=template)


def encoder_for(recipe: Recipe, base: Path, family: Family) -> PairEncoder:
    """Return what turns segments into rows no longer than the recipe and the base allow."""
    from training.seq2seq.encode import PairEncoder

    positions = read_config(base).get("max_position_embeddings")
    limit = recipe.schedule.max_length
    limit = limit if positions is None else min(limit, int(positions))
    return PairEncoder(tokenizer_for(recipe, base, family), limit)
