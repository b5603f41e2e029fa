"""Words that no pair may have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from training.clean import writing
from training.clean.view import View

_WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")  # noqa: RUF001


class BlockedWords:
    """Tells whether a pair has one of some words or phrases, in any case."""

    def __init__(self, words: Sequence[str]) -> None:
        folded = {word.casefold().strip() for word in words}
        self._words = {word for word in folded if _is_word(word)}
        # Phrases, and words of languages that put no spaces between them, are looked for anywhere.
        self._parts = sorted(folded - self._words)

    def are_in(self, view: View) -> bool:
        """Return whether one of the sides has one."""
        return any(self._are_in(side.text.casefold()) for side in view.sides)

    def _are_in(self, text: str) -> bool:
        if any(part in text for part in self._parts):
            return True
        return not self._words.isdisjoint(_WORD.findall(text))


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None and not writing.is_unspaced(text)
