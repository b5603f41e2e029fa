"""DevTexts: what of dev is translated while training. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.tokenizer import BaseTokenizer


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
