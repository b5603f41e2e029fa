"""What a fit on plain text gave: perplexity of held-out text, with the adapter and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.base_model import BaseModelRef
from adapters.errors import RecipeInvalid
from adapters.tokenizer import BaseTokenizer
from training.encode_text import TextPacker
from training.evaluate.perplexity import PerplexityComparison, compare_perplexity, split_first
from training.fit.result import FitResult
from training.prepare import Prepared
from training.recipe import Recipe


def packer_of(recipe: Recipe, base: Path) -> TextPacker:
    """Return what makes rows of a recipe's plain text."""
    prompt, tokenizer = recipe.prompt.complete(base), BaseTokenizer.load(base)
    return TextPacker(prompt, tokenizer, recipe.schedule.max_length)


def refuse_to_publish(recipe: Recipe) -> None:
    """Raise RecipeInvalid: an adapter that read text was never taught to answer."""
    raise RecipeInvalid(
        f"{recipe.id}: an adapter with the objective monolingual answers no request, so there is "
        "nothing to publish; leave out --publish (its weights are in the run's folder)"
    )


def measure_text(recipe: Recipe, base: Path, adapter: Path, data: Prepared) -> PerplexityComparison:
    """Return the perplexity of the test text, `evaluate.segments` of it, against the base's."""
    from training.evaluate.generate import Generator

    texts = [segment.target for segment in data.test[: recipe.evaluate.limit]]
    rows, _ = packer_of(recipe, base).pack(texts)
    # A row of one token, the last of a cut text, has nothing before it.
    prompts, targets = split_first([row for row in rows if len(row) > 1])
    generator = Generator.load(base, {"candidate": adapter})
    return compare_perplexity(
        generator.logprobs(prompts, targets, adapter="candidate"),
        generator.logprobs(prompts, targets, adapter=None),
        [len(target) for target in targets],
        max_length=recipe.schedule.max_length,
    )


def summary_of(
    recipe: Recipe,
    base: BaseModelRef,
    data: Prepared,
    fitted: FitResult,
    found: PerplexityComparison,
) -> dict[str, Any]:
    """Return the run in figures: summary.json."""
    return {
        "id": str(recipe.id),
        "objective": recipe.objective.kind,
        "base": str(base),
        "perplexity": round(found.value, 3),
        "base_perplexity": round(found.other, 3),
        "perplexity_ci95": [round(bound, 3) for bound in found.ci95],
        "p_value": round(found.p_value, 6),
        "signature": found.signature,
        **fitted.figures(),
        "segments": data.report.split,
        "dropped": data.report.clean["dropped"],
    }
