"""Days and months of UTC, after which quotas begin anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

Per = Literal["day", "month"]


def period_of(per: Per, now: datetime) -> str:
    """Return the period that `now` lies in, such as 2026-11 or 2026-11-22."""
    return now.astimezone(UTC).strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def ends_at(per: Per, now: datetime) -> datetime:
    """Return when the period ends and the next one begins, in UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return midnight + timedelta(days=1)
    # The 28th and four days are in the next month, whichever it is.
    return (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)


def ends_in_s(per: Per, now: datetime) -> float:
    """Return in how many seconds the period ends; more than 0."""
    return (ends_at(per, now) - now).total_seconds()
