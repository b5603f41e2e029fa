"""Term hints: how a prompt says which terms a translation must use, in training and in serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_LEAD: Final = "Terms: "


class Term(NamedTuple):
    """A word or phrase, and how it must be translated."""

    source: str
    target: str


def with_terms(text: str, terms: Sequence[Term]) -> str:
    """Return what is asked in place of `text` where its translation must use `terms`.

    `Terms: node = Knoten; pod = Pod`, a line break, and the text. Without a term it is the text.
    """
    if not terms:
        return text
    told = "; ".join(f"{_of_one_line(term.source)} = {_of_one_line(term.target)}" for term in terms)
    return f"{_LEAD}{told}\n{text}"


def _of_one_line(text: str) -> str:
    return " ".join(text.split())
