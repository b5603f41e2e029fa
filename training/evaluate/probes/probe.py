"""Probe: what any translator can be asked, and what is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from adapters.ids import LanguagePair

# Sources in, translations out, in the same order.
Answers = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Example:
    """A text with the answer that counts against the translator, and why it does."""

    source: str
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One figure of a probe.

    value: per cent, of a gap in points; None where nothing was measured, which `note` explains.
    count: of how many answers. `signature` names the set of texts: other texts, other figures.
    """

    name: str
    value: float | None
    count: int
    examples: tuple[Example, ...]
    note: str
    signature: str = ""

    @classmethod
    def unmeasured(cls, name: str, note: str) -> Self:
        """Return the result of a probe that has nothing to ask here."""
        return cls(name, None, 0, (), note)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the value has two digits."""
        value = None if self.value is None else round(self.value, 2)
        return {**asdict(self), "value": value, "examples": [asdict(e) for e in self.examples]}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Return what to_json wrote."""
        return cls(**{**body, "examples": tuple(Example(**one) for one in body["examples"])})


def primary(language: str) -> str:
    """Return `pt` of `pt_br`."""
    return language.partition("_")[0]


def not_from_english(pair: LanguagePair) -> str | None:
    """Return why texts in English cannot be asked in this direction, if they cannot."""
    if primary(pair.source) == "en":
        return None
    return f"not measured: the texts are English, the source language is {pair.source}"


def signature(name: str, texts: Path, count: int, pair: LanguagePair) -> str:
    """Return what a figure depends on beside the translator: the texts and the direction."""
    digest = hashlib.sha256(texts.read_bytes()).hexdigest()[:8]
    return f"probe:{name}|texts:{count}|set:sha256-{digest}|pair:{pair}"
