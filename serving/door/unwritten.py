"""Usage and corrections of quotas that the ledger does not have yet."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from serving.door.ledger import Usage, Use

_LOG: Final = logging.getLogger(__name__)
# Keys x adapters x days that are kept for a ledger that cannot be reached.
MOST_ROWS: Final = 10_000


class Unwritten:
    """Sums, so that its size does not grow with the requests."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Usage] = {}
        # By key and period; what is negative is to be given back.
        self.corrections: dict[tuple[str, str], Use] = {}
        self._is_full = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.corrections)

    def __str__(self) -> str:
        requests = sum(row.requests for row in self.rows.values())
        return f"usage of {requests} requests, corrections of {len(self.corrections)} quotas"

    def add(self, usage: Usage) -> None:
        """Add usage; what needs a further row is left out, and logged, once there are too many."""
        place = (usage.day, usage.key, usage.adapter)
        had = self.rows.get(place)
        if had is not None:
            self.rows[place] = _sum(had, usage)
        elif len(self.rows) < MOST_ROWS:
            self.rows[place] = usage
        elif not self._is_full:
            self._is_full = True
            _LOG.error("usage: %d rows wait to be written; further ones are lost", MOST_ROWS)

    def correct(self, key: str, period: str, use: Use) -> None:
        """Add a correction of a quota."""
        had = self.corrections.get((key, period), Use())
        self.corrections[key, period] = Use(
            had.characters + use.characters, had.tokens + use.tokens
        )

    def merge(self, other: Unwritten) -> None:
        """Add all of another."""
        for usage in other.rows.values():
            self.add(usage)
        for (key, period), use in other.corrections.items():
            self.correct(key, period, use)


def _sum(one: Usage, other: Usage) -> Usage:
    return replace(
        one,
        requests=one.requests + other.requests,
        characters=one.characters + other.characters,
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
    )
