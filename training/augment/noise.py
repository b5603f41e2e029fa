"""Noise in a source: words that are missing, out of place, too many or misspelt. Markup stays.

Each function returns the text itself where it has nothing to change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Final

from training.augment.pieces import Piece, is_unspaced, pieces, words_of

_INSERTED_MARKS: Final = (",", ".", "!", "?", ";", ":", "-", "...")
_MARK_SHARE: Final = 0.2
_SHORTEST_MISSPELT: Final = 3
# A mark with the space before it (French) where a word ends, and any full-width one.
_PUNCTUATION: Final = re.compile(
    r"[ \u00a0\u202f]?[.,;:!?\u2026]+(?=[\s)\]\u201d\u2019\u00bb\"']|$)"
    r"|[\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]"
)


class Vocabulary:
    """The words of a corpus, drawn as often as they are used there, whatever its order."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in words_of(text))
        self._words = sorted(counts)
        self._upto = list(accumulate(counts[word] for word in self._words))

    def draw(self, dice: Random) -> str:
        """Return a word. Raises IndexError where there is none."""
        return dice.choices(self._words, cum_weights=self._upto)[0]


def drop_words(text: str, dice: Random, *, share: float) -> str:
    """Return `text` without a share of its words: one at least, never all."""
    found = pieces(text)
    words = _places(found)
    if len(words) < 2:
        return text
    count = min(len(words) - 1, _count(words, share))
    return _without(found, set(dice.sample(words, count)))


def shuffle_words(text: str, dice: Random, *, distance: int) -> str:
    """Return `text` with words moved by `distance` places at most, none across markup."""
    found = pieces(text)
    moved = list(found)
    for stretch in _stretches(found):
        # Lample et al. 2018: an index and noise of up to k + 1 sort to places k away at most.
        keys = [number + dice.uniform(0, distance + 1) for number in range(len(stretch))]
        order = sorted(range(len(stretch)), key=keys.__getitem__)
        for place, number in zip(stretch, order, strict=True):
            moved[place] = found[stretch[number]]
    return _joined(moved)


def insert_words(text: str, dice: Random, *, share: float, vocabulary: Vocabulary) -> str:
    """Return `text` with words of the vocabulary or punctuation after some of its words."""
    found = list(pieces(text))
    words = _places(found)
    if not words:
        return text
    chosen = Counter(dice.choices(words, k=_count(words, share)))
    for place in sorted(chosen):
        added = [_inserted(found[place].text, dice, vocabulary) for _ in range(chosen[place])]
        found[place] = Piece(found[place].text + "".join(added), "word")
    return _joined(found)


def misspell(text: str, dice: Random, *, share: float) -> str:
    """Return `text` with a letter swapped, left out or doubled in a share of its words.

    Words of two letters, and of scripts whose letters carry signs, have none.
    """
    found = list(pieces(text))
    words = [place for place in _places(found) if _can_be_misspelt(found[place].text)]
    if not words:
        return text
    for place in sorted(dice.sample(words, min(len(words), _count(words, share)))):
        found[place] = Piece(_misspelt(found[place].text, dice), "word")
    return _joined(found)


def drop_punctuation(text: str) -> str:
    """Return `text` without the punctuation after its words."""
    first, *others = pieces(text) or (Piece("", "gap"),)
    return first.text + "".join(map(_without_marks, others))


def _without_marks(piece: Piece) -> str:
    return _PUNCTUATION.sub("", piece.text) if piece.kind == "gap" else piece.text


def _joined(found: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in found)


def _places(found: Sequence[Piece]) -> list[int]:
    return [place for place, piece in enumerate(found) if piece.kind == "word"]


def _count(words: Sequence[int], share: float) -> int:
    return max(1, round(len(words) * share))


def _without(found: Sequence[Piece], dropped: set[int]) -> str:
    kept = ""
    for place, piece in enumerate(found):
        if place in dropped:
            continue
        # A word goes with the space after it.
        is_double = place - 1 in dropped and (not kept or kept[-1].isspace())
        kept += piece.text.removeprefix(" ") if is_double else piece.text
    return kept


def _stretches(found: Sequence[Piece]) -> Iterator[list[int]]:
    """Yield the places of words that may change places with each other."""
    stretch: list[int] = []
    for place, piece in enumerate(found):
        if piece.kind == "word":
            stretch.append(place)
        elif piece.is_barrier:
            yield stretch
            stretch = []
    yield stretch


def _inserted(before: str, dice: Random, vocabulary: Vocabulary) -> str:
    if dice.random() < _MARK_SHARE:
        return dice.choice(_INSERTED_MARKS)
    return ("" if is_unspaced(before) else " ") + vocabulary.draw(dice)


def _can_be_misspelt(word: str) -> bool:
    return len(word) >= _SHORTEST_MISSPELT and word.isalpha() and not is_unspaced(word)


def _misspelt(word: str, dice: Random) -> str:
    swaps = [place for place in range(len(word) - 1) if word[place] != word[place + 1]]
    kind = dice.choice(("swap", "drop", "double"))
    if kind == "swap" and swaps:
        place = dice.choice(swaps)
        return f"{word[:place]}{word[place + 1]}{word[place]}{word[place + 2 :]}"
    place = dice.randrange(len(word))
    return word[:place] + word[place] * (0 if kind == "drop" else 2) + word[place + 1 :]
