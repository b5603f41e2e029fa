"""Pieces of a text: words, which may be changed, and markup, which must not."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from training.clean.placeholders import placeholders

# Thai, Lao, Burmese, Khmer, kana and Han are written without spaces: each sign, but for digits, is
# a word here.
UNSPACED: Final = (
    "\u0e00-\u0e4f\u0e5a-\u0ecf\u0eda-\u0eff\u1000-\u103f\u104a-\u108f\u1780-\u17df\u17ea-\u17ff"
    "\u3041-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
# Vowel signs and accents that stand by themselves in Unicode are no `\w`.
MARKS: Final = "\u200c\u200d" + "".join(
    sign
    for sign in map(chr, [*range(0x300, 0x1E00), *range(0x20D0, 0x2100), *range(0xA800, 0xAC00)])
    if unicodedata.category(sign)[0] == "M"
)
LINE_BREAKS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

_SPAN: Final = re.compile(
    r"""
    (?<!`)(?P<ticks>`+)(?!`)[\s\S]*?(?<!`)(?P=ticks)(?!`)   # code, in a line or fenced
  | ~{3,}[\s\S]*?~{3,}
  | <!--[\s\S]*?-->
  | </?[A-Za-z][^<>]*>
  | \$?\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}      # {0}, ${a}, {n, plural, one {#}}
  | \$(?![\s{])[^$\n]*?(?<!\s)\$(?!\d)                      # a formula
  | \]\([^()\n]*\)                                          # where a link goes
  | (?:[A-Za-z][\w+.\-]*://|www\.)[^\s<>]+
    """,
    re.VERBOSE,
)
# What stands between spaces; full-width punctuation ends it, too.
_RUN: Final = rf"[^\s{UNSPACED}\u3000-\u303f\u30fb\uff00-\uff0f\uff1a-\uff20]"
_CHUNK: Final = re.compile(rf"(?P<run>{_RUN}+)|(?:(?!{_RUN})[\s\S])+")
# A name of a file, a flag, a number, an address: no word of the language.
_TECHNICAL: Final = re.compile(r"[`_/\\@#$%&=<>{}\[\]|~^*+\d]|\w[.:()]\w|(?<!\w)-\w|--")
_LETTER: Final = rf"(?:[^\W\d_{UNSPACED}]|[{MARKS}])"
_WORD: Final = re.compile(rf"(?P<sign>[{UNSPACED}])[{MARKS}]*|{_LETTER}+(?:[-'\u2019]{_LETTER}+)*")

Kind = Literal["word", "fixed", "gap"]


class Piece(NamedTuple):
    """A word, markup and other text that must stay as it is, or what stands between them."""

    text: str
    kind: Kind

    @property
    def is_barrier(self) -> bool:
        """Whether words may not change places across it."""
        return self.kind == "fixed" or any(sign in LINE_BREAKS for sign in self.text)


@lru_cache(maxsize=256)  # one change after another looks at the same texts
def pieces(text: str) -> tuple[Piece, ...]:
    """Return the pieces of `text`, which joined are `text` again; no two gaps are neighbours."""
    found: list[Piece] = []
    for piece in _pieces(text):
        if piece.kind == "gap" and found and found[-1].kind == "gap":
            found[-1] = Piece(found[-1].text + piece.text, "gap")
        else:
            found.append(piece)
    return tuple(found)


def words_of(text: str) -> list[str]:
    """Return the words of `text`, in order."""
    return [piece.text for piece in pieces(text) if piece.kind == "word"]


def marks(text: str) -> Counter[str]:
    """Return all that a change must leave in `text`, with its number: markup and line breaks."""
    found = placeholders(text)
    found.update(piece.text for piece in pieces(text) if piece.kind == "fixed")
    found.update(sign for sign in text if sign in LINE_BREAKS)
    return found


def is_unspaced(word: str) -> bool:
    """Return whether `word` is of a script that is written without spaces."""
    found = _WORD.match(word)
    return found is not None and found["sign"] is not None


def _pieces(text: str) -> Iterator[Piece]:
    end = 0
    for span in _SPAN.finditer(text):
        yield from _free(text[end : span.start()])
        yield Piece(span[0], "fixed")
        end = span.end()
    yield from _free(text[end:])


def _free(text: str) -> Iterator[Piece]:
    for chunk in _CHUNK.finditer(text):
        if chunk["run"] and _TECHNICAL.search(chunk[0]):
            yield Piece(chunk[0], "fixed")
        else:
            yield from _words(chunk[0])


def _words(text: str) -> Iterator[Piece]:
    end = 0
    for word in _WORD.finditer(text):
        if word.start() > end:
            yield Piece(text[end : word.start()], "gap")
        yield Piece(word[0], "word")
        end = word.end()
    if end < len(text):
        yield Piece(text[end:], "gap")
