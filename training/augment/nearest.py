"""Nearest: the training pairs whose sources are most like a text, as a translation memory finds."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from training.augment.pieces import MARKS, UNSPACED
from training.corpus.segment import Segment

# Compared one by one for each text; the rarest words choose them.
_COMPARED: Final = 200
_WORD: Final = re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]|[{MARKS}])+")


class Nearest:
    """Finds segments of a corpus by shared words; the corpus may come in any order."""

    def __init__(self, corpus: Iterable[Segment]) -> None:
        self._corpus = sorted(corpus, key=lambda s: (str(s.pair), s.source, s.target))
        self._numbers: dict[tuple[str, str], int] = {}  # of the words of each pair
        self._words_at = [self._numbered(segment) for segment in self._corpus]
        self._places = [array("I") for _ in self._numbers]
        for place, words in enumerate(self._words_at):
            for word in words:
                self._places[word].append(place)

    def like(self, segment: Segment, *, most: int, min_overlap: float) -> list[Segment]:
        """Return up to `most` segments of the same pair, the most similar last.

        Similarity is the share of words that both sources have, of all words of the two. A source
        that is the same but for case, spacing and punctuation is the segment itself.
        """
        words = {*_words(segment.source)}
        keys = ((str(segment.pair), word) for word in words)
        known = {number for key in keys if (number := self._numbers.get(key)) is not None}
        ranked = []
        for place in self._candidates(known):
            theirs = self._words_at[place]
            shared = len(known.intersection(theirs))
            overlap = shared / (len(words) + len(theirs) - shared)
            if overlap >= min_overlap and not self._is_itself(segment, place, overlap):
                ranked.append((-overlap, place))
        best = self._one_of_each_source(place for _, place in sorted(ranked))
        return best[:most][::-1]

    def _numbered(self, segment: Segment) -> array[int]:
        pair = str(segment.pair)
        words = dict.fromkeys(_words(segment.source))
        return array("I", [self._numbers.setdefault((pair, w), len(self._numbers)) for w in words])

    def _candidates(self, words: set[int]) -> Sequence[int]:
        found: dict[int, None] = {}
        for word in sorted(words, key=lambda word: (len(self._places[word]), word)):
            room = _COMPARED - len(found)
            if room <= 0:
                break
            found.update(dict.fromkeys(self._places[word][:room]))
        return list(found)

    def _is_itself(self, segment: Segment, place: int, overlap: float) -> bool:
        theirs = self._corpus[place].source
        return overlap == 1 and list(_words(theirs)) == list(_words(segment.source))

    def _one_of_each_source(self, places: Iterable[int]) -> list[Segment]:
        best: dict[str, Segment] = {}
        for place in places:
            best.setdefault(self._corpus[place].source, self._corpus[place])
        return list(best.values())


def _words(text: str) -> Iterator[str]:
    return (match[0] for match in _WORD.finditer(text.casefold()))
