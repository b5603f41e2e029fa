"""Marks: where in a rejected pair the reason stands, as far as it can be pointed at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from training.clean.placeholders import placeholders

# A piece of text, and whether it is marked.
Piece = tuple[str, bool]

_SHOWN_CHARS: Final = 600
_PATTERNS: Final = MappingProxyType(
    {
        "numbers": re.compile(r"\d[\d.,]*\d"),
        "addresses": re.compile(r"\w{2,10}://[^\s<>()]{1,200}|[\w.+-]{1,64}@[\w.-]{1,200}"),
        "long_word": re.compile(r"[^\W_]{21,}"),
        "sentences": re.compile(r"[.!?…]+(?=\s|$)|[。！？]+"),
        "loops": re.compile(
            r"(?<!\w)(\S.{0,80}?)(?:\s+\1){3,}(?!\w)|(\S.{1,12}?)\2{3,}", re.DOTALL
        ),
        "garbled": re.compile(
            "[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd-\uffff]|[\xc2-\xf4\u0102\u0139]"
            "[\x80-\xbf\u0152-\u017e\u2013-\u203a\u20ac\u2122]+"
        ),
    }
)
# Those that both sides have say nothing.
_COMPARED: Final = frozenset({"numbers", "addresses", "long_word"})

WHAT: Final = MappingProxyType(
    {
        "empty": "a side has no text",
        "equal_sides": "what is preferred is what was rejected",
        "garbled": "control characters, or text read in a wrong encoding",
        "identical": "the target is the source",
        "too_long": "a side has too many characters",
        "too_many_words": "a side has too many words",
        "length_ratio": "one side is much longer than the other",
        "long_word": "a word too long to be one, on one side only",
        "average_word": "words are too short or too long on average",
        "copied": "most words of the target are those of the source",
        "letters": "mostly no letters",
        "script": "not in the writing of its language",
        "language": "surely in another language",
        "placeholders": "placeholders or tags differ",
        "addresses": "other sites or e-mail addresses",
        "numbers": "other numbers",
        "sentences": "many more sentences on one side",
        "loops": "the target repeats itself",
        "blocked": "has a blocked word",
        "duplicate": "the same pair was there before",
        "other_translation": "the same source was there before, with another target",
        "near_duplicate": "nearly the same pair was there before",
    }
)


def marked(rule: str, source: str, target: str) -> tuple[list[Piece], list[Piece]]:
    """Return both texts in pieces; those that `rule` objects to are marked, if it can be told."""
    texts = (_cut(source), _cut(target))
    if rule == "placeholders":
        finds = _placeholders_apart(*texts)
        return _pieces(texts[0], finds[0]), _pieces(texts[1], finds[1])
    pattern = _PATTERNS.get(rule)
    if pattern is None:
        return [(texts[0], False)], [(texts[1], False)]
    if rule in _COMPARED:
        ours, theirs = (Counter(pattern.findall(text)) for text in texts)
        return (
            _pieces(texts[0], pattern, (ours - theirs).__contains__),
            _pieces(texts[1], pattern, (theirs - ours).__contains__),
        )
    return _pieces(texts[0], pattern), _pieces(texts[1], pattern)


def plain(text: str) -> list[Piece]:
    """Return a text of which nothing is marked."""
    return [(_cut(text), False)]


def measures(sample: Mapping[str, str]) -> str:
    """Return the lengths of both sides in words."""
    source, target = len(sample["source"]), len(sample["target"])
    return f"{source:,} and {target:,} characters"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _placeholders_apart(source: str, target: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    ours, theirs = placeholders(source), placeholders(target)
    return _any_of(ours - theirs), _any_of(theirs - ours)


def _any_of(names: Counter[str]) -> re.Pattern[str]:
    """Return what finds each placeholder, and each tag with its attributes."""
    found = [
        rf"{re.escape(name[:-1])}(?:\s[^<>]*)?/?>" if name.startswith("<") else re.escape(name)
        for name in sorted(names, key=len, reverse=True)
    ]
    return re.compile("|".join(found) or r"(?!)", re.IGNORECASE)


def _pieces(
    text: str, pattern: re.Pattern[str], counts: Callable[[str], bool] = lambda _: True
) -> list[Piece]:
    return [piece for piece in _all_pieces(text, pattern, counts) if piece[0]]


def _all_pieces(
    text: str, pattern: re.Pattern[str], counts: Callable[[str], bool]
) -> Iterator[Piece]:
    end = 0
    for match in pattern.finditer(text):
        if counts(match[0]):
            yield text[end : match.start()], False
            yield _visible(match[0]), True
            end = match.end()
    yield text[end:], False


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() or c.isspace() else f"\\x{ord(c):02x}" for c in text)
