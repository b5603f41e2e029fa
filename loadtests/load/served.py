"""What became of one request."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from loadtests.load.plan import Planned


class Ending(StrEnum):
    """How a request ended; every one of the plan has exactly one."""

    OK = "ok"  # a whole answer
    SHED = "shed"  # 429 or 503: there was too much, and it was said
    REFUSED = "refused"  # another 4xx
    FAILED = "failed"  # another 5xx, or an error in the midst of the stream
    UNREACHED = "unreached"  # nobody listened; it was never taken, so it may be asked again
    LOST = "lost"  # an answer that broke off without a word, or none at all
    LEFT = "left"  # the client went, as planned


@dataclass
class Served:
    """One request as its client saw it; times are seconds since the start of the load."""

    planned: Planned
    sent_s: float = 0.0
    ended_s: float = 0.0
    ending: Ending = Ending.LOST
    status: int = 0
    arrived_s: list[float] = field(default_factory=list)  # each event that had text
    tokens: int = 0
    digest: str = ""  # of the adapter's version, where the server says it
    detail: str = ""
    places: list[dict[str, Any]] = field(default_factory=list)  # a probe's tokens, as OpenAI's API

    @property
    def lag_s(self) -> float:
        """How much later than intended it was sent: the generator's own fault."""
        return self.sent_s - self.planned.at_s

    @property
    def ttft_s(self) -> float:
        """From the intended start to the first token."""
        return self.arrived_s[0] - self.planned.at_s

    @property
    def tpot_s(self) -> float:
        """Mean time of each token after the first."""
        after = max(1, self.tokens - 1)
        return (self.arrived_s[-1] - self.arrived_s[0]) / after

    @property
    def total_s(self) -> float:
        """From the intended start to the end."""
        return self.ended_s - self.planned.at_s
