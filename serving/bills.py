"""What is charged for each request: to its caller, and to the adapter among that caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.callers import Callers, Party
from serving.fair_share import Account, Terms
from serving.turn import turn_of


@dataclass(slots=True, eq=False)
class Bill:
    """One request: what was charged for it so far, in tokens; None until it first ran."""

    callers: Callers
    party: Party
    account: Account
    charged: float | None = None
    deferred_s: float = 0.0


class Bills:
    """The bills of unfinished requests, and the callers of each class who owe them."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.first_class = min((each.priority for each in terms.values()), default=0)
        self.first_class = min(self.first_class, Terms().priority)
        self.classes: dict[int, Callers] = {}
        self._terms = terms
        self._bills: dict[str, Bill] = {}

    def __len__(self) -> int:
        return len(self._bills)

    @property
    def are_shared(self) -> bool:
        """Whether several parties are here: without keys there is one."""
        return len(self.classes) > 1 or any(each.present > 1 for each in self.classes.values())

    def waiting(self) -> set[int]:
        """Return the classes of which any request waits."""
        return {priority for priority, callers in self.classes.items() if callers.waiting}

    def bill(self, request: Any) -> Bill:
        """Return the request's bill; opens one when the request is new."""
        bill = self._bills.get(request.request_id)
        if bill is None:
            lora, turn = request.lora_request, turn_of(request)
            callers = self.classes.get(turn.priority)
            if callers is None:
                callers = self.classes[turn.priority] = Callers(self._terms)
            party = callers.enter(turn)
            account = party.adapters.enter(adapter_of(lora.lora_name) if lora else "")
            bill = self._bills[request.request_id] = Bill(callers, party, account)
        return bill

    def admit(self, request: Any, bill: Bill) -> None:
        """Charge a request that begins to run, or goes on: its tokens and the expected answer.

        Expected, since a batch of free places would otherwise all go to one adapter before the
        first token is counted; `finish` corrects it.
        """
        to_come = max(0, request.max_tokens - request.num_output_tokens)
        expected = request.num_tokens + min(to_come, bill.account.answer_tokens)
        charged = bill.charged or 0.0
        bill.charged = max(charged, expected)
        bill.callers.admit(bill.party, bill.charged - charged)
        bill.party.adapters.charge(bill.account, bill.charged - charged)

    def finish(self, request: Any) -> Bill | None:
        """Close the bill: charge what the request really took. None where there was no bill."""
        bill = self._bills.pop(request.request_id, None)
        if bill is None:
            return None
        callers, party, account = bill.callers, bill.party, bill.account
        if bill.charged is not None:
            callers.correct(party, request.num_tokens - bill.charged)
            party.adapters.charge(account, request.num_tokens - bill.charged)
            party.adapters.learn(account, request.num_output_tokens)
        party.adapters.leave(account, is_last=party.present == 1)
        callers.leave(party)
        if not callers.present:
            # The end of a class's busy period: none of its callers is owed anything.
            del self.classes[party.priority]
        return bill


def adapter_of(name: str) -> str:
    """Return the adapter id in an engine's name, `id@digest12`."""
    return name.partition("@")[0]
