"""Words of an answer against those of its reference: what is too much, what is missing."""

from __future__ import annotations

import difflib
import re
from typing import Final, Literal, NamedTuple

# Comparing takes the square of the length.
_SHOWN_CHARS: Final = 600
# Scripts without spaces between words are compared by their signs.
_WORDS: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|\w+|\s+|[^\w\s]"
)
Kind = Literal["same", "del", "ins"]


class Piece(NamedTuple):
    """A stretch of text: `del` is too much in the answer, `ins` is missing from it."""

    text: str
    kind: Kind


def compared(answer: str, reference: str) -> tuple[list[Piece], list[Piece]]:
    """Return the answer and the reference in pieces; both are cut where they are very long."""
    ours, theirs = (_WORDS.findall(cut(text)) for text in (answer, reference))
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    left: list[Piece] = []
    right: list[Piece] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        same = tag == "equal"
        left += _piece(ours[a:b], "same" if same else "del")
        right += _piece(theirs[c:d], "same" if same else "ins")
    return left, right


def cut(text: str) -> str:
    """Return a text as far as it is shown."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _piece(words: list[str], kind: Kind) -> list[Piece]:
    return [Piece("".join(words), kind)] if words else []
