"""Which pairs teach something wrong, one rule at a time. Nothing here changes a text.

Whitespace is Markdown and layout, and short strings are most of an interface: neither is ever
collapsed or dropped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from pydantic import Field

from adapters.strict.section import Section
from training.clean.placeholders import placeholders
from training.corpus.segment import Segment

# Below this many more columns a ratio says nothing: "Add" is "Hinzufügen", "Match Brackets" is
# "Mettre en évidence les parenthèses".
_RATIO_SLACK: Final = 30
# A summary is no longer the source's words: it may be of any length, leave tags out, or quote.
# Monolingual text has no other side.
_ANY_LENGTH: Final = {
    "drop_identical": False,
    "max_chars": None,
    "max_length_ratio": None,
    "match_placeholders": False,
}


class CleanRules(Section):
    """The rules of cleaning, in the order in which they are tried."""

    drop_identical: bool = Field(
        default=True, description="drop pairs whose target is the source: they teach copying"
    )
    max_chars: int | None = Field(
        default=1000, ge=1, description="longest source or target; null for any"
    )
    max_length_ratio: float | None = Field(
        default=3.0,
        gt=1,
        description="longer side to shorter side, null for any; wide characters count twice",
    )
    match_placeholders: bool = Field(
        default=True, description="drop pairs whose placeholders or tags differ"
    )
    drop_duplicates: bool = Field(
        default=True, description="keep the first of equal pairs, and the first of equal sources"
    )

    def relaxed(self) -> CleanRules:
        """Return the rules without those that hold for translations only, unless they are set."""
        others = {key: v for key, v in _ANY_LENGTH.items() if key not in self.model_fields_set}
        return self.model_copy(update=others)


Rule = Callable[[Segment], bool]


def rules_of(config: CleanRules) -> dict[str, Rule]:
    """Return name -> "must this pair go?", in order; a pair is counted at the first that says yes.

    The duplicate rules remember what they have seen, so make a new set for every run.
    """
    rules: dict[str, Rule] = {"empty": _is_empty, "equal_sides": _prefers_itself}
    if config.drop_identical:
        rules["identical"] = lambda s: s.source.strip() == s.target.strip()
    if (longest := config.max_chars) is not None:
        rules["too_long"] = lambda s: max(len(s.source), len(s.target)) > longest
    if (ratio := config.max_length_ratio) is not None:
        rules["length_ratio"] = lambda s: _ratio_exceeds(s, ratio)
    if config.match_placeholders:
        rules["placeholders"] = lambda s: placeholders(s.source) != placeholders(s.target)
    if config.drop_duplicates:
        rules["duplicate"] = _Seen(lambda s: (str(s.pair), s.source, s.target, s.rejected or ""))
        # Preferences tell translations of one source apart: each teaches something of its own.
        rules["other_translation"] = _Seen(
            lambda s: (
                (str(s.pair), s.source)
                if s.rejected is None
                else (str(s.pair), s.source, s.target, s.rejected)
            )
        )
    return rules


def _is_empty(segment: Segment) -> bool:
    return not segment.source.strip() or not segment.target.strip()


def _prefers_itself(segment: Segment) -> bool:
    return segment.rejected is not None and segment.rejected.strip() == segment.target.strip()


def _ratio_exceeds(segment: Segment, limit: float) -> bool:
    short, long = sorted((_columns(segment.source), _columns(segment.target)))
    return long > limit * short and long - short > _RATIO_SLACK


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class _Seen:
    """Says yes from the second time on that a key comes by."""

    def __init__(self, key: Callable[[Segment], tuple[str, ...]]) -> None:
        self._key = key
        self._seen: set[tuple[str, ...]] = set()

    def __call__(self, segment: Segment) -> bool:
        key = self._key(segment)
        known = key in self._seen
        self._seen.add(key)
        return known
