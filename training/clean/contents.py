"""What both sides of a pair tell alike: addresses, numbers, sentences; and what they repeat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from operator import eq
from typing import Final
from unicodedata import decimal

from training.clean import writing
from training.clean.view import Side, View

_HOST: Final = re.compile(r"://([A-Za-z0-9.-]+)")
_MAIL: Final = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
# Numbers of one digit are often spelt out: "two files". "1,000", "1.000" and "1 000" are one
# number, an escape (%20) is none, and neither are the minutes of 12:00.
_DIGITS: Final = re.compile(r"\d\d")
_NUMBER: Final = re.compile(
    r"(?<![%\d])(?:\d{1,3}(?:(?:\s+|[.,'’])\d{3}(?!\d))+|\d\d+)"  # noqa: RUF001
)
# A single one is often said in words: "more than sixty", "a decade".
_SPELT_OUT: Final = 1
# The last of a run; those of Chinese and of Hindi need no space after them.
_STOP: Final = re.compile(
    r"[.!?…。！？।؟۔።](?:(?<=[。！？।؟۔።])(?![。！？])|(?=[\"'”’»)\]*_]*(?:\s|$)))"  # noqa: RUF001
)
# How often text says the same on end to be a loop; OpusFilter's RepetitionFilter begins at three,
# which "no, no, no" and rows of a table reach.
_TIMES: Final = 4
_LONGEST_LOOP: Final = 12


def same_addresses(view: View) -> bool:
    """Return whether both sides name the same sites and e-mail addresses.

    `fr.wikipedia.org` is the site of `en.wikipedia.org`, and `example.de` that of `example.com`;
    and a link may stand for a site that the other side names otherwise.
    """
    source, target = view.source.text, view.target.text
    if "://" not in source and "://" not in target and "@" not in source and "@" not in target:
        return True
    source, target = source.casefold(), target.casefold()
    only_one = (_sites(source) ^ _sites(target)) | (_mails(source) ^ _mails(target))
    return all(name in source and name in target for name in only_one)


def _sites(text: str) -> set[str]:
    hosts = (host.strip(".-").split(".") for host in _HOST.findall(text))
    return {host[-2] if len(host) > 1 else host[0] for host in hosts}


def _mails(text: str) -> set[str]:
    return {*_MAIL.findall(text)}


def numbers_shared(view: View) -> float:
    """Return the share (0 to 1) of numbers of two digits and more that both sides have.

    1 also if a single number is left over.
    """
    source, target = numbers(view.source.text), numbers(view.target.text)
    if source == target:
        return 1.0
    shared = 2 * (Counter(source) & Counter(target)).total()
    every = len(source) + len(target)
    return shared / every if every - shared > _SPELT_OUT else 1.0


def numbers(text: str) -> list[str]:
    """Return the numbers of two digits and more, without their separators."""
    if not _DIGITS.search(text):
        return []
    return [number for found in _NUMBER.findall(text) if (number := _western(found)).strip("0")]


def _western(number: str) -> str:
    if number.isascii() and number.isdecimal():
        return number
    return "".join(str(decimal(char)) for char in number if char.isdecimal())


def sentences_apart(view: View) -> int:
    """Return how many more ends of sentences one side has; 0 in languages that mark none."""
    if not (writing.has_stops(view.source.language) and writing.has_stops(view.target.language)):
        return 0
    return abs(len(_STOP.findall(view.source.plain)) - len(_STOP.findall(view.target.plain)))


def only_target_loops(view: View) -> bool:
    """Return whether the target says the same four times on end, and the source does not."""
    return _loops(view.target) and not _loops(view.source)


def _loops(side: Side) -> bool:
    if not side.has_spaces:
        # One character on end is a laugh or a line.
        return _may_repeat(side.shown) and _repeats(side.shown, range(2, _LONGEST_LOOP + 1))
    said_before = len(side.words) - len(side.different_words)
    longest = min(said_before // (_TIMES - 1), _LONGEST_LOOP)
    return _repeats(side.words, range(1, longest + 1))


def _repeats(units: Sequence[str], sizes: Sequence[int]) -> bool:
    return any(
        b"\1" * (size * (_TIMES - 1)) in bytes(map(eq, units, units[size:])) for size in sizes
    )


def _may_repeat(text: str) -> bool:
    # Of three characters somewhere in the first half of a loop, the next time is near.
    near = _LONGEST_LOOP + 3
    return any(text.find(text[i : i + 3], i + 1, i + near) > 0 for i in range(0, len(text) - 7, 4))
