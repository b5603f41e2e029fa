"""Masks: what an engine of plain text must not touch, under names that it copies.

Models of Firefox read `{name}` as a word and `<b>` as an inequality; `X0X` they leave alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_KEPT: Final = re.compile(
    r"""`[^`\n]+` | https?://[^\s<>()\[\]]+ | </?[A-Za-z][^<>]*> | \$?\{\{?[^{}\n]*\}?\}
      | %(?:\([^()\s]+\))?(?:\d+\$)?[-+0\#]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa](?!\w)
      | %\d+ | &\#?\w+;""",
    re.VERBOSE,
)
_NAMES: Final = re.compile(r"X\d+X")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stood there, and on which sides a space was put: touching a word it would be one."""

    text: str
    left: bool
    right: bool


@dataclass(frozen=True, slots=True)
class Masked:
    """A text to translate, and what stood in the place of its names, in order."""

    text: str
    kept: tuple[_Kept, ...]

    def restore(self, translation: str) -> str:
        """Return `translation` with what was kept; a name that it lost stays lost."""
        for number, kept in enumerate(self.kept):
            name = f"{' ?' * kept.left}X{number}X{' ?' * kept.right}"
            parts = re.split(name, translation)
            translation = kept.text.join(parts)
        return translation


def masked(text: str) -> Masked:
    """Return `text` with a name for each placeholder, tag, address and piece of code."""
    if _NAMES.search(text):
        return Masked(text, ())
    found: list[_Kept] = []

    def name(match: re.Match[str]) -> str:
        left = text[match.start() - 1 : match.start()].isalnum()
        right = text[match.end() : match.end() + 1].isalnum()
        found.append(_Kept(match[0], left, right))
        return f"{' ' * left}X{len(found) - 1}X{' ' * right}"

    return Masked(_KEPT.sub(name, text), tuple(found))
