"""Memorised: answers to texts that were held out which are targets of training, word for word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

# Shorter ones are names and commands, which many sources have for a translation.
_LEAST_CHARS: Final = 20


def memorised(
    answers: Sequence[str], references: Sequence[str], trained_on: Iterable[str]
) -> list[bool]:
    """Return which answers are some target of `trained_on` though the reference is another one."""
    known = {text for target in trained_on if len(text := _plain(target)) >= _LEAST_CHARS}
    return [
        _plain(answer) in known and _plain(answer) != _plain(reference)
        for answer, reference in zip(answers, references, strict=True)
    ]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
