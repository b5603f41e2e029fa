"""Tags and placeholders put into both sides, so that a model learns to carry them over.

Where they belong is never guessed: they stand around what both sides have exactly once, or at the
same end of both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from training.augment.pieces import LINE_BREAKS, Piece, pieces
from training.clean.placeholders import placeholders
from training.corpus.segment import Segment

# HTML's, and the numbered ones that inline codes of TMX and XLIFF become.
_PAIRED: Final = ("b", "i", "u", "em", "strong", "span", "g1", "g2", "g3")
_ALONE: Final = (
    "<br/>", "<x1/>", "<x2/>", "{0}", "{1}", "{name}", "{{count}}", "${value}",
    "%s", "%d", "%1$s", "%(name)s",
)  # fmt: skip
_WHOLE_SHARE: Final = 0.25
_SHORTEST_WORD: Final = 3
# What a tag may go around: a number, an address, code, a placeholder, a name or a word.
_WRAPPABLE: Final = re.compile(
    r"\d+(?:[.,:]\d+)*%?|\w+://\S*[\w/]|[^\s@]+@[^\s@]+\w|`[^`\n]+`|\{[^{}\n]*\}|\w[\w.\-]*\w"
)


def insert_tags(segment: Segment, dice: Random) -> Segment:
    """Return `segment` with one more tag pair or placeholder on both sides, where one has room."""
    shared = sorted(_alone(segment.source) & _alone(segment.target))
    if shared:
        return _same_added(segment, _wrapped(segment, dice.choice(shared), dice))
    if _is_plain_line(segment.source) and _is_plain_line(segment.target):
        return _same_added(segment, _at_an_end(segment, dice))
    return segment


def _alone(text: str) -> set[str]:
    """Return what a tag may go around and `text` has once, even within other words."""
    found = Counter(_wrappable(text))
    return {token for token, count in found.items() if text.count(token) == count == 1}


def _wrappable(text: str) -> Iterator[str]:
    before = Piece("\n", "gap")
    for piece in pieces(text):
        token = piece.text.rstrip(".,;:!?")
        # `1.` at the start of a line may be the number of a list.
        is_listed = token != piece.text and before.kind == "gap" and before.is_barrier
        is_long = piece.kind == "fixed" or len(token) >= _SHORTEST_WORD
        if piece.kind != "gap" and is_long and not is_listed and _WRAPPABLE.fullmatch(token):
            yield token
        before = piece


def _wrapped(segment: Segment, token: str, dice: Random) -> Segment:
    names = [name for name in _PAIRED if f"<{name}" not in segment.source]
    if not names:
        return segment
    name = dice.choice(names)
    tagged = f"<{name}>{token}</{name}>"
    source, target = (text.replace(token, tagged) for text in (segment.source, segment.target))
    return replace(segment, source=source, target=target)


def _is_plain_line(text: str) -> bool:
    """Return whether a line begins with a word, so that its start is no markup."""
    found = pieces(text)
    is_line = text == text.strip() and not any(sign in LINE_BREAKS for sign in text)
    return is_line and bool(found) and found[0].kind == "word"


def _at_an_end(segment: Segment, dice: Random) -> Segment:
    before, after = _ends(dice)
    source, target = (f"{before}{text}{after}" for text in (segment.source, segment.target))
    return replace(segment, source=source, target=target)


def _ends(dice: Random) -> tuple[str, str]:
    """Return what to put before and after both texts."""
    if dice.random() < _WHOLE_SHARE:
        name = dice.choice(_PAIRED)
        return f"<{name}>", f"</{name}>"
    placeholder = dice.choice(_ALONE)
    return (f"{placeholder} ", "") if dice.random() < 0.5 else ("", f" {placeholder}")


def _same_added(before: Segment, after: Segment) -> Segment:
    """Return `after` if both sides gained the same and lost nothing, else `before`."""
    sides = ((before.source, after.source), (before.target, after.target))
    gained = []
    for old, new in sides:
        had, has = placeholders(old), placeholders(new)
        if not had <= has:
            return before
        gained.append(has - had)
    return after if gained[0] and gained[0] == gained[1] else before
