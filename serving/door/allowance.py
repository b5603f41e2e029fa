"""How fast and how much at a time each key may ask: counted in memory, by each API process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from adapters.errors import RateLimited, TooManyAtOnce
from serving.door.key import Key

_MINUTE_S: Final = 60.0
# How long one of a key's requests is taken to need before any has ended.
_FIRST_GUESS_S: Final = 1.0
_LEARNING: Final = 0.2


@dataclass(slots=True)
class _Bucket:
    """A token bucket that holds a minute's worth, and may be overdrawn once by a large request."""

    level: float
    at: float

    def wait_s(self, cost: float, per_minute: int, now: float) -> float:
        """Return how long until `cost` may be taken; 0 if now. Fills the bucket up to now."""
        rate = per_minute / _MINUTE_S
        self.level = min(per_minute, self.level + (now - self.at) * rate)
        self.at = now
        return max(0.0, (min(cost, per_minute) - self.level) / rate)


@dataclass(slots=True)
class _Account:
    buckets: dict[str, _Bucket] = field(default_factory=dict)
    under_way: int = 0
    takes_s: float = _FIRST_GUESS_S


class Allowances:
    """What every key has left, by its name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def begin(self, key: Key, characters: int) -> float:
        """Count a request that begins; return when, for `end`. Raises RateLimited, TooManyAtOnce.

        A refused request costs nothing.
        """
        now = self._clock()
        account = self._accounts.setdefault(key.name, _Account())
        if key.concurrency is not None and account.under_way >= key.concurrency:
            raise TooManyAtOnce(
                f"{account.under_way} requests of this key are under way, and {key.concurrency} "
                "may be; wait for one to end",
                retry_after_s=account.takes_s / key.concurrency,
            )
        costs = {"requests": (1, key.requests_per_minute)}
        costs["characters"] = (characters, key.characters_per_minute)
        limited = {what: (cost, most) for what, (cost, most) in costs.items() if most is not None}
        for what, (cost, most) in limited.items():
            bucket = account.buckets.setdefault(what, _Bucket(most, now))
            if (wait_s := bucket.wait_s(cost, most, now)) > 0:
                raise RateLimited(
                    f"this key may send {most} {what} a minute, and has; wait {wait_s:.1f} s",
                    retry_after_s=wait_s,
                )
        for what, (cost, _) in limited.items():
            account.buckets[what].level -= cost
        account.under_way += 1
        return now

    def refund(self, key: Key, characters: int) -> None:
        """Give back what `begin` took for a request that was not let in after all."""
        for what, cost in (("requests", 1), ("characters", characters)):
            if bucket := self._accounts[key.name].buckets.get(what):
                bucket.level += cost

    def end(self, key: Key, began: float) -> None:
        """Count the end of a request that `begin` let in."""
        account = self._accounts[key.name]
        account.under_way -= 1
        account.takes_s += _LEARNING * (self._clock() - began - account.takes_s)
