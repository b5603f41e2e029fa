"""What may be wrong with an answer, whatever its score."""

from __future__ import annotations

import enum
from typing import Final


class Fault(enum.StrEnum):
    """A fault of an answer; of several, the first in this order counts."""

    EMPTY = "empty"
    COPIED = "copied"
    LOOP = "loop"
    LANGUAGE = "language"
    LENGTH = "length"
    PLACEHOLDERS = "placeholders"
    NUMBERS = "numbers"

    @property
    def told(self) -> str:
        """What it is, for people."""
        return _TOLD[self]


_TOLD: Final = {
    Fault.EMPTY: "nothing where the reference says something",
    Fault.COPIED: "the source again, though the reference differs",
    Fault.LOOP: "the same words again and again",
    Fault.LANGUAGE: "another language than was asked for",
    Fault.LENGTH: "several times as long or short as the reference",
    Fault.PLACEHOLDERS: "placeholders or tags lost, changed or added",
    Fault.NUMBERS: "numbers lost or changed",
}
