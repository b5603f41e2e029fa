"""Answered: what a system made of the test set, what that took, and what is known of the system."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapters.console import progress
from training.evaluate.scoreboard import Cost, System

if TYPE_CHECKING:
    from collections.abc import Iterator

Series = list[list[float]]
# What the page and the table know of a trained system; what is not known is None.
TRAINING_KEYS: Final = (
    "method", "rank", "alpha", "targets", "trainable_parameters", "base_parameters",
    "trainable_percent", "adapter_mb", "train_s", "tok_s", "peak_rss_gb", "steps", "tokens",
    "train_pairs", "train_loss", "dev_loss", "recipe_digest",
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What a training was and took: the values of TRAINING_KEYS, and [step, loss] by the way."""

    figures: Mapping[str, Any]
    losses: Series = field(default_factory=list)
    dev_losses: Series = field(default_factory=list)


@dataclass(frozen=True)
class Answered:
    """The translations in the order of the test set.

    seconds: wall time of the translation, models loaded before. Tokens are None where an engine
    does not count them. `unanswered` texts never got an answer: asked again, they may get one.
    """

    texts: Sequence[str]
    seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    what: str
    notes: Mapping[str, str] = field(default_factory=dict)
    trained: Trained | None = None
    unanswered: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; from_json reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Answered:
        """Return what to_json gave. Raises TypeError, KeyError for anything else."""
        trained = body["trained"]
        return cls(**{**body, "trained": trained and Trained(**trained)})

    def system(self, name: str) -> System:
        """Return it as a scoreboard takes it."""
        cost = Cost(self.prompt_tokens or 0, self.completion_tokens or 0, self.seconds)
        return System(name, self.texts, cost, {"what": self.what, **self.notes})

    def per_segment(self) -> dict[str, float | None]:
        """Return what one segment took, and how many a second there were."""

        def share(tokens: int | None) -> float | None:
            return None if tokens is None else round(tokens / len(self.texts), 1)

        return {
            "prompt_tokens": share(self.prompt_tokens),
            "completion_tokens": share(self.completion_tokens),
            "segments_per_s": round(len(self.texts) / max(self.seconds, 1e-6), 2),
        }


class Contender(Protocol):
    """A system that can be asked."""

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the answers, as plain JSON values, before anything is made."""

    def answer(self) -> Answered:
        """Return the translations; trains first where need be. Raises DragomanError."""


class Clock:
    """Counts seconds of translation; those before `skip` segments are not counted."""

    def __init__(self, skip: int = 0) -> None:
        self._skip = skip
        self._done = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the first segment that counts was begun."""
        return time.monotonic() - self._began

    def advance(self, segments: int) -> None:
        """Take note of segments that are done."""
        self._done += segments
        if self._done <= self._skip:
            self._began = time.monotonic()


@contextmanager
def clocked(segments: int, *, skip: int = 0) -> Iterator[Clock]:
    """Yield a clock, whose `advance` moves a progress bar over `segments`, too."""
    with progress("translate", total=segments + skip) as show:
        yield _Shown(show, skip)


class _Shown(Clock):
    def __init__(self, show: Any, skip: int) -> None:
        super().__init__(skip)
        self._show = show

    def advance(self, segments: int) -> None:
        super().advance(segments)
        self._show(segments)
