"""When requests are meant to arrive: decided before the first is sent, whatever the server does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.strict.section import Section

Rate = Callable[[float], float]


class Poisson(Section):
    """Independent users: exponential gaps at one rate."""

    kind: Literal["poisson"]
    per_s: float = Field(gt=0)

    def times(self, seconds: float, chance: random.Random) -> list[float]:
        """Return ascending arrival times below `seconds`."""
        return list(thinned(lambda _: self.per_s, self.per_s, seconds, chance))


class Bursts(Section):
    """Poisson, with a higher rate for a while, again and again."""

    kind: Literal["bursts"]
    per_s: float = Field(gt=0)
    burst_per_s: float = Field(gt=0)
    every_s: float = Field(gt=0)
    for_s: float = Field(gt=0)

    def times(self, seconds: float, chance: random.Random) -> list[float]:
        """Return ascending arrival times below `seconds`; a period begins calm."""

        def rate(t: float) -> float:
            return self.burst_per_s if t % self.every_s >= self.every_s - self.for_s else self.per_s

        return list(thinned(rate, max(self.per_s, self.burst_per_s), seconds, chance))


class Ramp(Section):
    """Poisson, with a rate that goes evenly from one to another."""

    kind: Literal["ramp"]
    from_per_s: float = Field(ge=0)
    to_per_s: float = Field(gt=0)

    def times(self, seconds: float, chance: random.Random) -> list[float]:
        """Return ascending arrival times below `seconds`."""
        slope = (self.to_per_s - self.from_per_s) / seconds
        most = max(self.from_per_s, self.to_per_s)
        return list(thinned(lambda t: self.from_per_s + slope * t, most, seconds, chance))


class Even(Section):
    """One each so many milliseconds, as a clock does: for comparing servers, not for users."""

    kind: Literal["even"]
    per_s: float = Field(gt=0)

    def times(self, seconds: float, chance: random.Random) -> list[float]:
        """Return ascending arrival times below `seconds`."""
        return [i / self.per_s for i in range(int(seconds * self.per_s))]


class Replay(Section):
    """What was recorded: JSONL with `at_s` in each line; what is past the end is left out."""

    kind: Literal["replay"]
    file: str
    speed: float = Field(default=1.0, gt=0, description="2: twice as fast")

    def times(self, seconds: float, chance: random.Random) -> list[float]:
        """Return ascending arrival times below `seconds`. Raises DataInvalid with the line."""
        found = []
        try:
            with Path(self.file).open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    found.append(self._time(line, number) / self.speed)
        except (OSError, UnicodeDecodeError) as error:
            raise DataInvalid(f"{self.file}: cannot be read ({error})") from error
        return sorted(t for t in found if t < seconds)

    def _time(self, line: str, number: int) -> float:
        try:
            at_s = float(json.loads(line)["at_s"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataInvalid(
                f'{self.file}:{number}: expected {{"at_s": seconds}}, found {line.strip()[:80]!r}'
            ) from error
        if not 0 <= at_s < float("inf"):
            raise DataInvalid(f"{self.file}:{number}: at_s must be 0 or more, found {at_s}")
        return at_s


Arrivals = Annotated[Poisson | Bursts | Ramp | Even | Replay, Field(discriminator="kind")]


def thinned(rate: Rate, most: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Yield arrivals of a Poisson process whose rate changes; `most` bounds the rate.

    Thinning, after Lewis and Shedler 1979.
    """
    now = 0.0
    while True:
        now += chance.expovariate(most)
        if now >= seconds:
            return
        if chance.random() * most < rate(now):
            yield now
