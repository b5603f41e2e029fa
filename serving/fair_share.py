"""What each adapter of one caller has been served, against what it is entitled to, in tokens.

Start-time fair queueing with the virtual clock of an ideal, fluid server (Goyal, Vin, Cheng 1996;
Parekh, Gallager 1993): an account's `served` grows by tokens / weight, the clock by tokens / the
weight of all that are present. An adapter that returns from idle starts at the clock, so it cashes
in no old credit; one that left in debt finds its debt again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

# Accounts of the absent that are still in debt are kept up to this many.
MOST_ABSENT: Final = 4096
# Until an adapter has finished requests, its answers are taken to be this long, in tokens.
_FIRST_GUESS: Final = 64.0
_LEARNING: Final = 0.2

served_of = attrgetter("served")


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


class FairShare:
    """The accounts of one caller's adapters, and their virtual clock."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.accounts: dict[str, Account] = {}
        self._terms = terms
        self._weight = 0.0
        self._clock = 0.0

    def enter(self, adapter: str) -> Account:
        """Return the account of an adapter that one more request asks for."""
        account = self.accounts.get(adapter)
        if account is None:
            terms = self._terms.get(adapter, Terms())
            account = self.accounts[adapter] = Account(adapter, terms, served=self._clock)
        if not account.present:
            account.served = max(account.served, self._clock)
            self._weight += account.terms.weight
        account.present += 1
        return account

    def charge(self, account: Account, tokens: float) -> None:
        """Charge an adapter that is present; less than 0 gives back."""
        account.served += tokens / account.terms.weight
        self._clock += tokens / self._weight

    def learn(self, account: Account, answer_tokens: int) -> None:
        """Take in how long an answer was."""
        account.answer_tokens += _LEARNING * (answer_tokens - account.answer_tokens)

    def leave(self, account: Account, *, is_last: bool) -> None:
        """Take note that a request is finished; `is_last` if the caller has no other."""
        account.present -= 1
        if account.present:
            return
        self._weight -= account.terms.weight
        if is_last:
            # The end of a busy period: nobody is owed anything, and rounding ends here, too.
            self.accounts.clear()
            self._weight = self._clock = 0.0
        elif account.served <= self._clock:
            del self.accounts[account.adapter]
        elif len(self.accounts) > MOST_ABSENT:
            self._forget_absent()

    def _forget_absent(self) -> None:
        debtors = sorted((a for a in self.accounts.values() if not a.present), key=served_of)
        for account in debtors[: len(debtors) // 2 + 1]:
            del self.accounts[account.adapter]
