"""What synthesis asks of an engine: texts in, translations out, in whatever order they come."""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from adapters.errors import SynthesisFailed

# So many texts in a row without an answer, and the engine is taken for gone.
_PATIENCE: Final = 8


@dataclass(frozen=True, slots=True)
class Job:
    """A text to translate; `sample` tells several translations of one text apart."""

    text: str
    sample: int = 0


class Fault(enum.StrEnum):
    """Why an answer is no translation."""

    CUT = "cut"  # it ran into its limit of tokens
    REFUSED = "refused"  # the engine does not take this text
    UNANSWERED = "unanswered"  # nothing came, however often it was asked

    @property
    def is_final(self) -> bool:
        """Whether asking again would give the same, and cost the same."""
        return self is Fault.CUT


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one job, and what it took.

    mean_logprob: natural logarithm, mean over the tokens; None where the engine does not tell.
    """

    text: str
    mean_logprob: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 1
    fault: Fault | None = None


class Translator(Protocol):
    """An engine with one direction."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides the answers, as plain JSON values: engine, model, prompt and settings."""

    def translate(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Answer], None, None]:
        """Yield every job with its answer, as they come; takes jobs only as it can begin them.

        Raises SynthesisFailed where asking further is of no use.
        """


class Patience:
    """Tells an engine that is gone from a text that it cannot do."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._in_a_row = 0
        self._heard = False

    def heard(self) -> None:
        """Take note of an answer."""
        self._heard, self._in_a_row = True, 0

    def failed(self, why: str, *, is_refusal: bool = False) -> None:
        """Take note of a text without one. Raises SynthesisFailed when they become many.

        An engine that has answered may refuse any number: those are its word on the texts.
        """
        if is_refusal and self._heard:
            return
        self._in_a_row += 1
        if self._in_a_row >= _PATIENCE:
            raise SynthesisFailed(
                f"{self._engine}: {self._in_a_row} texts in a row without a translation, the last "
                f"one: {why}; mend it, and run the same command again"
            )


def core_of(text: str) -> tuple[str, str, str]:
    """Return the whitespace before `text`, the text, and the whitespace after it.

    Engines trim what they are given; whitespace is Markdown and layout, and is put back.
    """
    core = text.strip()
    before, _, after = text.partition(core)
    return before, core, after
