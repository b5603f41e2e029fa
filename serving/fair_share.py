"""What each adapter has been served, against what it is entitled to, in tokens.

Start-time fair queueing with the virtual clock of an ideal, fluid server (Goyal, Vin, Cheng 1996;
Parekh, Gallager 1993): an account's `served` grows by tokens / weight, the clock by tokens / the
weight of all that are present. An adapter that returns from idle starts at the clock, so it cashes
in no old credit; one that left in debt finds its debt again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Accounts of absent adapters that are still in debt are kept up to this many.
_MOST_ABSENT: Final = 4096
# Until an adapter has finished requests, its answers are taken to be this long, in tokens.
_FIRST_GUESS: Final = 64.0
_LEARNING: Final = 0.2


@dataclass(frozen=True)
class Terms:
    """What an adapter may ask for: its share, and its class (smaller goes first)."""

    weight: float = 1.0
    priority: int = 0


@dataclass(slots=True, eq=False)
class Account:
    """One adapter id, whatever its versions; the base without adapter is the account ""."""

    adapter: str
    terms: Terms
    served: float
    present: int = 0
    answer_tokens: float = _FIRST_GUESS


@dataclass(slots=True, eq=False)
class Bill:
    """One request: what was charged for it so far, in tokens; None until it first ran."""

    account: Account
    charged: float | None = None
    deferred_s: float = 0.0


class Shares:
    """The accounts, the bills of unfinished requests, and the virtual clock."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.best_class = min((each.priority for each in terms.values()), default=0)
        self.best_class = min(self.best_class, Terms().priority)
        self._terms = terms
        self._accounts: dict[str, Account] = {}
        self._bills: dict[str, Bill] = {}
        self._weight = 0.0
        self._clock = 0.0

    def bill(self, request: Any) -> Bill:
        """Return the request's bill; opens one when the request is new."""
        bill = self._bills.get(request.request_id)
        if bill is None:
            lora = request.lora_request
            bill = Bill(self._enter(adapter_of(lora.lora_name) if lora else ""))
            self._bills[request.request_id] = bill
        return bill

    def admit(self, request: Any) -> None:
        """Charge a request that begins to run, or goes on: its tokens and the expected answer.

        Expected, since a batch of free places would otherwise all go to one adapter before the
        first token is counted; `finish` corrects it.
        """
        bill = self.bill(request)
        to_come = max(0, request.max_tokens - request.num_output_tokens)
        expected = request.num_tokens + min(to_come, bill.account.answer_tokens)
        charged = bill.charged or 0.0
        bill.charged = max(charged, expected)
        self._charge(bill.account, bill.charged - charged)

    def finish(self, request: Any) -> Bill | None:
        """Close the bill: charge what the request really took. None where there was no bill."""
        bill = self._bills.pop(request.request_id, None)
        if bill is None:
            return None
        account = bill.account
        if bill.charged is not None:
            self._charge(account, request.num_tokens - bill.charged)
            account.answer_tokens += _LEARNING * (request.num_output_tokens - account.answer_tokens)
        self._leave(account)
        return bill

    def _charge(self, account: Account, tokens: float) -> None:
        account.served += tokens / account.terms.weight
        self._clock += tokens / self._weight

    def _enter(self, adapter: str) -> Account:
        account = self._accounts.get(adapter)
        if account is None:
            terms = self._terms.get(adapter, Terms())
            account = self._accounts[adapter] = Account(adapter, terms, served=self._clock)
        if not account.present:
            account.served = max(account.served, self._clock)
            self._weight += account.terms.weight
        account.present += 1
        return account

    def _leave(self, account: Account) -> None:
        account.present -= 1
        if account.present:
            return
        self._weight -= account.terms.weight
        if not self._bills:
            # The end of a busy period: nobody is owed anything, and rounding ends here, too.
            self._accounts.clear()
            self._weight = self._clock = 0.0
        elif account.served <= self._clock:
            del self._accounts[account.adapter]
        elif len(self._accounts) > _MOST_ABSENT:
            self._forget_absent()

    def _forget_absent(self) -> None:
        debtors = sorted((a for a in self._accounts.values() if not a.present), key=_served)
        for account in debtors[: len(debtors) // 2 + 1]:
            del self._accounts[account.adapter]


def adapter_of(name: str) -> str:
    """Return the adapter id in an engine's name, `id@digest12`."""
    return name.partition("@")[0]


def _served(account: Account) -> float:
    return account.served
