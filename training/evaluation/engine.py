"""Engine: what answers the texts of a test set, and what that took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.ids import LanguagePair
from training.evaluate.scoreboard import Cost, System

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Made:
    """Answers in the order of the texts. `cut` ran into their limit of tokens, `missing` are none.

    A text without an answer is an empty one, so that it counts against the system.
    """

    texts: list[str]
    cost: Cost
    cut: int = 0
    missing: int = 0


class Engine(Protocol):
    """One system that can be asked. Nothing is loaded or sent before it is."""

    @property
    def name(self) -> str:
        """How tables call it."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What it is, for people."""

    @property
    def trained_on(self) -> Sequence[Mapping[str, Any]]:
        """The data sets that it was trained on, where that is known."""

    def answer(self, texts: Sequence[str], pair: LanguagePair, on_progress: OnProgress) -> Made:
        """Return the translations; `on_progress` gets how many are done since its last call."""


def system_of(engine: Engine, made: Made) -> System:
    """Return the row of an engine."""
    notes = dict(engine.notes)
    if made.cut:
        notes["cut"] = f"{made.cut} answers ran into their limit of tokens"
    if made.missing:
        notes["missing"] = f"{made.missing} texts got no answer"
    return System(engine.name, made.texts, made.cost, notes)
