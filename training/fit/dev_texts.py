"""DevTexts: what of dev is translated while training. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.recipe import Recipe


@dataclass(frozen=True)
class DevTexts:
    """Prompts with the limits of their answers, and what the answers are compared with."""

    prompts: Sequence[Sequence[int]]
    max_tokens: Sequence[int]
    references: Sequence[str]
    stop_token_ids: Sequence[int]
    tokenizer: BaseTokenizer
    batch_size: int = 32

    def part(self, number: int, of: int) -> DevTexts:
        """Return every `of`-th segment from `number` on: one process's share."""
        return DevTexts(
            self.prompts[number::of],
            self.max_tokens[number::of],
            self.references[number::of],
            self.stop_token_ids,
            self.tokenizer,
            self.batch_size,
        )


def dev_texts_of(recipe: Recipe, base: Path, dev: Sequence[Segment]) -> DevTexts | None:
    """Return the segments that early stopping by chrF++ asks for, of every pair its share."""
    rule = recipe.schedule.early_stopping
    if rule is None or rule.metric != "chrf" or not dev:
        return None
    count = min(rule.segments, len(dev))
    shown = [dev[i * len(dev) // count] for i in range(count)]
    prompt, tokenizer = recipe.prompt.complete(base), BaseTokenizer.load(base)
    return DevTexts(
        prompts=[prompt.encode(s.source, s.pair or recipe.pair, tokenizer) for s in shown],
        max_tokens=[
            recipe.decoding.max_tokens(len(tokenizer.encode_text(s.source))) for s in shown
        ],
        references=[s.target for s in shown],
        stop_token_ids=prompt.stop_token_ids,
        tokenizer=tokenizer,
        batch_size=recipe.evaluate.batch_size,
    )
