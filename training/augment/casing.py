"""Casing of words, and of no markup: a text in capitals, as a title, in small letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from training.augment.pieces import Piece, pieces, words_of

# Their capital of i has a dot, and their small I has none.
_DOTTED: Final = ("tr", "az")


def upper(text: str, language: str) -> str:
    """Return `text` with its words in capitals."""
    return _each_word(text, lambda word: _capitals(word, language))


def title(text: str, language: str) -> str:
    """Return `text` with a capital at the start of its words; PDF and iOS stay as they are."""
    return _each_word(text, lambda word: _titled(word, language))


def lower(text: str, language: str) -> str:
    """Return `text` with its words in small letters."""
    return _each_word(text, lambda word: _small(word, language))


def has_case(text: str) -> bool:
    """Return whether half of the words or more are of a script with capitals."""
    words = words_of(text)
    return sum(word.lower() != word.upper() for word in words) * 2 >= len(words) > 0


def _each_word(text: str, change: Callable[[str], str]) -> str:
    return "".join(_changed(piece, change) for piece in pieces(text))


def _changed(piece: Piece, change: Callable[[str], str]) -> str:
    return change(piece.text) if piece.kind == "word" else piece.text


def _capitals(word: str, language: str) -> str:
    return (word.replace("i", "\u0130") if language in _DOTTED else word).upper()


def _small(word: str, language: str) -> str:
    if language in _DOTTED:
        word = word.replace("I", "\u0131").replace("\u0130", "i")
    return word.lower()


def _titled(word: str, language: str) -> str:
    if any(letter.isupper() for letter in word[1:]):
        return word
    # ß, ﬁ and the like would become two capitals.
    first = _capitals(word[0], language)
    return (first if len(first) == 1 else word[0]) + word[1:]
