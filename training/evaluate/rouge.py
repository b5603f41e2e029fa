"""ROUGE-1, ROUGE-2 and ROUGE-L of summaries in any language, each with its signature.

The figures are those of the package rouge-score 0.1.2 with the same words (a test holds them
together). It is not used itself: it has no wheel, which our lock asks for, it takes three seconds
to import, and its own words are ASCII only, so that "été" is one "t".
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Final

from training.evaluate.metrics import Scored

ROUGES: Final = ("ROUGE-1", "ROUGE-2", "ROUGE-L")
_SIGNATURE: Final = (
    "nrefs:1|case:lc|stem:no|tok:unicode-words|agg:mean-of-segments|value:f1|as:rouge-score-0.1.2"
)
# Scripts without spaces between words: Thai to Myanmar, Khmer, kana, Han.
_SPACELESS: Final = (
    (0x0E00, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def rouge(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Scored]:
    """Return name -> mean F1 over all segments, 0 to 100."""
    rows = [
        _of_words(unicode_words(hypothesis), unicode_words(reference))
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    return {
        name: Scored(100 * fmean(row[n] for row in rows) if rows else 0.0, _SIGNATURE)
        for n, name in enumerate(ROUGES)
    }


def unicode_words(text: str) -> list[str]:
    """Return runs of letters and digits in lower case, with their accents and vowel signs.

    Where words have no spaces between them, every letter is one.
    """
    words: list[str] = []
    is_open = False
    for char in unicodedata.normalize("NFC", text).lower():
        kind = unicodedata.category(char)[0]
        spaceless = kind == "L" and _is_spaceless(char)
        if words and ((kind == "M") or (is_open and kind in "LN" and not spaceless)):
            words[-1] += char
            continue
        is_open = kind in "LN" and not spaceless
        if kind in "LN":
            words.append(char)
    return words


def _is_spaceless(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _SPACELESS)


def _of_words(hypothesis: list[str], reference: list[str]) -> tuple[float, float, float]:
    one, two = (
        _f1(
            sum((Counter(_grams(hypothesis, n)) & Counter(_grams(reference, n))).values()),
            len(hypothesis) - n + 1,
            len(reference) - n + 1,
        )
        for n in (1, 2)
    )
    common = longest_common(hypothesis, reference)
    return one, two, _f1(common, len(hypothesis), len(reference))


def _grams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _f1(common: int, found: int, wanted: int) -> float:
    # 2PR / (P + R), with P = common / found and R = common / wanted.
    return 2 * common / (found + wanted) if common else 0.0


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table at a time.

    Bits are the row's columns that do not grow (Crochemore et al. 2001, "A fast and practical
    bit-vector algorithm for the longest common subsequence problem").
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        match = row & places.get(word, 0)
        row = ((row + match) | (row - match)) & every
    return len(one) - row.bit_count()
