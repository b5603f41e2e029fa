"""What each caller has been served, against what it is entitled to, in tokens.

Start-time fair queueing (Goyal, Vin, Cheng 1996), one clock for each class: a party's `served`
grows by tokens / weight; the clock is the start of whoever was admitted last. Who begins to wait
starts at the clock, so neither an idle caller nor one that asks for less than its share saves up
credit. Classes have clocks of their own, since bulk falls behind interactive by design, and who
comes late to bulk must not wait until the others have caught up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from serving.fair_share import MOST_ABSENT, FairShare, Terms, served_of
from serving.turn import Turn

_FEW: Final = 64


@dataclass(slots=True, eq=False)
class Party:
    """One caller in one class; `present` and `waiting` count its requests."""

    caller: str
    priority: int
    weight: float
    adapters: FairShare
    served: float
    present: int = 0
    waiting: int = 0


class Callers:
    """The parties of one class, and their virtual clock."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.present = 0
        self.waiting = 0
        self.parties: dict[str, Party] = {}
        self._terms = terms
        self._clock = 0.0
        # How many may be here before the absent ones are gone through.
        self._most = _FEW

    def enter(self, turn: Turn) -> Party:
        """Return the party that brings one more request."""
        party = self.parties.get(turn.caller)
        if party is None:
            party = self.parties[turn.caller] = Party(
                turn.caller, turn.priority, turn.weight, FairShare(self._terms), self._clock
            )
        # Keys can be given another weight while the server runs.
        party.weight = turn.weight
        self.present += not party.present
        party.present += 1
        return party

    def wait(self, party: Party) -> None:
        """Take note that one of its requests waits."""
        if not party.waiting:
            party.served = max(party.served, self._clock)
        party.waiting += 1
        self.waiting += 1

    def wait_no_more(self, party: Party) -> None:
        """Take note that one of its requests has left the queue."""
        party.waiting -= 1
        self.waiting -= 1

    def admit(self, party: Party, tokens: float) -> None:
        """Charge a party for a request that begins to run, or goes on."""
        self._clock = max(self._clock, party.served)
        party.served += tokens / party.weight

    def correct(self, party: Party, tokens: float) -> None:
        """Charge a party what a request took beyond what was expected; less than 0 gives back."""
        party.served += tokens / party.weight

    def leave(self, party: Party) -> None:
        """Take note that one of its requests is finished."""
        party.present -= 1
        if party.present:
            return
        self.present -= 1
        if party.served <= self._clock:
            del self.parties[party.caller]
        elif len(self.parties) > self._most:
            self._forget_absent()

    def _forget_absent(self) -> None:
        """Forget whom the clock has overtaken, and the smaller debts where there are too many."""
        debtors = [each for each in self.parties.values() if not each.present]
        debtors.sort(key=served_of)
        surplus = len(debtors) // 2 + 1 if len(debtors) > MOST_ABSENT else 0
        for index, party in enumerate(debtors):
            if index < surplus or party.served <= self._clock:
                del self.parties[party.caller]
        self._most = max(_FEW, 2 * len(self.parties))
