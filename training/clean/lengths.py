"""How long texts and their words are, and how much of them is words."""

from __future__ import annotations

import re
from typing import Final

from training.clean.view import Side, View
from training.clean.writing import columns

# Below this many more columns a ratio says nothing: "Add" is "Hinzufügen", "Match Brackets" is
# "Mettre en évidence les parenthèses".
_RATIO_SLACK: Final = 30
# Texts with fewer words are names, commands and headings.
FEW_WORDS: Final = 5
# Texts with fewer characters are names, versions and commands.
FEW_LETTERS: Final = 12
# Only words with more are looked at closely.
_SHORT_WORD: Final = 20
_DIGIT: Final = re.compile(r"\d")
_PIECE: Final = re.compile(r"[^\W_]+")


def chars(view: View) -> int:
    """Return the length of the longer text in characters."""
    return max(len(view.source.text), len(view.target.text))


def has_more_words(view: View, most: int) -> bool:
    """Return whether a text has more words than `most`, markup and all."""
    return _has_more_words(view.source.text, most) or _has_more_words(view.target.text, most)


def _has_more_words(text: str, most: int) -> bool:
    return len(text) > 2 * most and len(text.split()) > most


def ratio(view: View) -> float:
    """Return the longer text to the shorter in columns; 1 if they are not a line apart."""
    short, long = sorted((columns(view.source.text), columns(view.target.text)))
    return long / max(1, short) if long - short > _RATIO_SLACK else 1.0


def longest_word(view: View) -> int:
    """Return the length of the longest word that only one side has.

    A path or a dotted name is several words; what both sides have is a name or a checksum.
    """
    source, target = _long_words(view.source), _long_words(view.target)
    return max(map(len, source ^ target), default=0) if source or target else 0


def _long_words(side: Side) -> set[str]:
    if not side.has_spaces:
        return set()
    return {
        piece for word in side.words if len(word) > _SHORT_WORD for piece in _PIECE.findall(word)
    }


class AverageWord:
    """Tells whether the words of a pair are shorter or longer on average than words are."""

    def __init__(self, least: float | None, most: float | None) -> None:
        self._least = least or 0.0
        self._most = most or float("inf")

    def is_odd(self, view: View) -> bool:
        """Return whether those of one side are; of few words, and of marks alone, nobody knows."""
        return self._is_odd(view.source) or self._is_odd(view.target)

    def _is_odd(self, side: Side) -> bool:
        words = len(side.words)
        if words < FEW_WORDS or not side.has_spaces or self._is_usual(len(side.shown) / words):
            return False
        # A Korean syllable is no letter: in columns it is two.
        lengths = [columns(word) for word in side.words if _PIECE.search(word)]
        return len(lengths) >= FEW_WORDS and not self._is_usual(sum(lengths) / len(lengths))

    def _is_usual(self, length: float) -> bool:
        return self._least <= length <= self._most


def share_of_letters(view: View) -> float:
    """Return the share of letters and digits in what is neither space nor markup.

    Of the side where it is less; 1 of short texts.
    """
    return min(_share_of_letters(view.source), _share_of_letters(view.target))


def _share_of_letters(side: Side) -> float:
    shown = len(side.shown)
    if shown <= FEW_LETTERS:
        return 1.0
    return (side.letters + len(_DIGIT.findall(side.shown))) / shown
