"""Prompts of token ids that share no prefix, or the prefix cache would do the work."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Final

# Ids of ordinary words in Gemma's vocabulary; the work does not depend on which they are.
_FIRST_ID: Final = 1000
_WORDS: Final = 50_000
_BOS: Final = 2
PROMPT_TOKENS: Final = 24


def prompt_ids(seed: int, length: int = PROMPT_TOKENS) -> list[int]:
    """Return the prompt of `seed`: BOS and `length` - 1 words."""
    return [_BOS, *(_FIRST_ID + (seed * 31 + i * 7) % _WORDS for i in range(length - 1))]


def random_prompt_ids(seed: int, length: int) -> list[int]:
    """Return BOS and words at random: regular ones are continued alike by most adapters."""
    words = random.Random(seed)
    return [_BOS, *(words.randrange(_FIRST_ID, _WORDS) for _ in range(length - 1))]


def fresh_seeds() -> Iterator[int]:
    """Return seeds that no earlier run of this minute used."""
    return itertools.count(int(time.time() * 1000) % 100_000)
