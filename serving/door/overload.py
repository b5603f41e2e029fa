"""Whether one more request can be answered in time, and if not, when to come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.errors import Overloaded
from serving.door.backlog import Backlog, Job
from serving.door.caller import Caller
from serving.door.demand import Demand
from serving.door.returns import Returns

# A forecast is a mean, and the limit is for nineteen of twenty.
_MARGIN: Final = 0.9
# Room that is kept for those who come back when they were told to.
_NEWCOMERS: Final = 0.85
# Before the first answers have shown how fast the engine is.
_SEATFULS: Final = 2
_SOON_S: Final = 0.05


@dataclass(frozen=True)
class Overload:
    """Lets in as much as `Limits.backlog_s` allows, and nobody's share to another."""

    backlog: Backlog
    returns: Returns

    def let_in(self, caller: Caller, demand: Demand, raw: bytes, *, most_s: float) -> Job:
        """Count a request in. Raises Overloaded, whose `retry_after_s` is computed.

        Above `most_s` seconds of work a caller is still let in up to its share of them, so that
        who floods the server sends only itself away.
        """
        work = self.backlog.expected(demand.model, demand.answers, demand.most_tokens)
        before_s = self.backlog.seconds(caller.priority)
        who = hash((caller.name, raw))
        most_s *= _MARGIN if self.returns.is_back(who) else _MARGIN * _NEWCOMERS
        if not self._has_room(caller, before_s, most_s):
            raise self._sent_away(who, (before_s or 0.0) - most_s, work)
        return self.backlog.begin(caller, demand.model, demand.answers, work)

    def _has_room(self, caller: Caller, before_s: float | None, most_s: float) -> bool:
        if before_s is None:
            return self.backlog.answers < _SEATFULS * self.backlog.seats
        if before_s <= most_s:
            return True
        share = self.backlog.share_of(caller)
        return share < 1 and self.backlog.seconds_of(caller.name) < most_s * share

    def _sent_away(self, who: int, over_s: float, work: float) -> Overloaded:
        work_s = self.backlog.seconds_per(work)
        room_in_s = max(_SOON_S, over_s, work_s)
        wait_s = self.returns.promise(who, room_in_s=room_in_s, work_s=work_s)
        return Overloaded(
            f"more is waiting than can be answered in time; ask again in {wait_s:.1f} s, or "
            "another server",
            retry_after_s=wait_s,
        )
