"""How long to wait before a server is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Nobody is obeyed for longer: a clock may be wrong, and a day of waiting looks like a hang.
_LONGEST_TOLD_S: Final = 300.0


@dataclass(frozen=True)
class Backoff:
    """Waits that double, unless the server says how long."""

    tries: int = 6
    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempt: int, retry_after: str | None = None) -> float:
        """Return the wait after `attempt` (0 is the first); `retry_after` as the header has it."""
        told = seconds_of(retry_after)
        if told is not None:
            return min(told, _LONGEST_TOLD_S)
        return float(min(self.first_s * 2**attempt, self.longest_s))


def seconds_of(retry_after: str | None) -> float | None:
    """Return what a Retry-After asks for, in seconds or as a date; None for what is neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
