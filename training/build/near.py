"""Near: how alike two texts are, by the triples of words that both have.

Words have no case and no punctuation, and every number is the same number: "Step 3: restart it" and
"step 4, restart it." are one text. Writings without spaces are compared by their characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

# Kana, CJK, Hangul, Thai, Lao, Khmer, Burmese.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_NUMBER: Final = re.compile(r"\d+")
# Shorter texts differ in a word at most: an interface has "Open file" and "Open folder".
_FEWEST_WORDS: Final = 5
# Two numbers a band: of texts at 0.8 all but 0.3 per mille share a band, since 0.36 ** 8 is that.
BANDS: Final = 8
_ROWS: Final = 2
_SEED: Final = 1


def triples(text: str) -> frozenset[str]:
    """Return the triples of words of `text`; none of a text too short to be near another."""
    folded = _NUMBER.sub("0", unicodedata.normalize("NFKC", text).casefold())
    words = _WORD.findall(folded)
    if len(words) < _FEWEST_WORDS:
        return frozenset()
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def jaccard(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    """Return the share of triples that both have, 0 to 1; 0 where one has none."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def bands(found: AbstractSet[str]) -> NDArray[np.uint64]:
    """Return BANDS numbers, of which near texts share one; zeros for a text without triples.

    MinHash (Broder 1997): two texts share a value with the probability of their Jaccard index.
    """
    if not found:
        return np.zeros(BANDS, dtype=np.uint64)
    values = RMinHash(num_perm=BANDS * _ROWS, seed=_SEED)
    values.update(list(found))
    return np.array(values.digest(), dtype=np.uint32).view(np.uint64)
