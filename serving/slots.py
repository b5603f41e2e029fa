"""The engine's adapter slots: who holds one, who must give one up.

A slot is held by the version of an adapter that has running sequences. vLLM 0.32 admits by the
adapters of the step at hand, and forgets pins: a pinned adapter and two others on two slots end
its engine. Here a pinned id occupies a slot whether it runs or not, so that the worker always finds
room for what a step needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from serving.fair_share import Account
from serving.lobby import Claim

# The base model runs without a slot.
NO_SLOT: Final = 0
_QUANTUM_DRAINS: Final = 1.5
# How long a drain is taken to last until some have been seen.
_FIRST_GUESS_S: Final = 1.0
_LEARNING: Final = 0.3


@dataclass(slots=True)
class Holding:
    """One slot in use: the account of one of its users, and since when, in seconds."""

    account: Account
    since: float


class Standing(NamedTuple):
    """How much a holder deserves its slot; a smaller one deserves more.

    Of the first of its users: the class, the adapter's class, what the caller and its adapter have
    been served. `owed` is what the first that waits here was served: only who waits is owed a slot.
    """

    priority: int
    adapter_class: int
    caller_served: float
    adapter_served: float
    owed: float = inf


class Slots:
    """`capacity` slots; keys are the engine's numbers of adapter versions."""

    def __init__(self, capacity: int, pinned: frozenset[str] = frozenset()) -> None:
        self._capacity = capacity
        self._pinned = pinned
        self._idle_pins = len(pinned)
        self._full_s = 0.0
        self._seen = 0.0
        self.held: dict[int, Holding] = {}
        # Since when each is emptied.
        self.draining: dict[int, float] = {}
        self._drain_s = _FIRST_GUESS_S

    @property
    def free(self) -> int:
        """How many slots a further adapter may take; below 0 never."""
        return max(0, self._capacity - len(self.held) - self._idle_pins)

    @property
    def keeps_a_slot(self) -> bool:
        """Whether a pinned adapter that does not run has a slot kept for it."""
        return self._idle_pins > 0

    def has_room(self, adapter: str) -> bool:
        """Return whether an adapter without a slot could have one now."""
        return self.free > 0 or self._waits_for(adapter)

    def full_s(self, now: float) -> float:
        """Return for how long all slots have been taken, since the start."""
        return self._full_s + (0.0 if self.free else max(0.0, now - self._seen))

    def take(self, key: int, account: Account, *, now: float) -> bool:
        """Give a slot to a version that begins to run; return whether it had none before."""
        if key == NO_SLOT or key in self.held:
            return False
        self._note_time(now)
        self.held[key] = Holding(account, now)
        self._count_pins()
        return True

    def recount(self, running: Mapping[int, Account], *, now: float) -> list[int]:
        """Take in which versions run; return those that gave their slot back since."""
        self._note_time(now)
        left = []
        for key, holding in self.held.items():
            account = running.get(key)
            if account is None:
                left.append(key)
            else:
                holding.account = account
        for key in left:
            del self.held[key]
            if key in self.draining:
                drain_s = now - self.draining.pop(key)
                self._drain_s += _LEARNING * (drain_s - self._drain_s)
        self._count_pins()
        return left

    def plan(
        self,
        claims: Sequence[Claim],
        standings: Callable[[], Mapping[int, Standing]],
        *,
        now: float,
        wait_s: float,
    ) -> None:
        """Choose whom to admit no more, so that the claims find a slot, the first ones first.

        The least deserving go first, once they had their quantum: an adapter that came in is worth
        one and a half drains, or half of the batch would be empty. It is no longer than the
        bounded wait, which would be none otherwise.
        """
        chosen: list[int] = []
        if len(claims) > self.free:
            quantum_s = min(wait_s, _QUANTUM_DRAINS * self._drain_s)
            deserts = standings()
            victims = sorted(self._evictable(), key=deserts.__getitem__, reverse=True)
            victims.sort(key=lambda key: key not in self.draining)
            for claim in claims[self.free :]:
                for key in victims:
                    had_quantum = now - self.held[key].since >= quantum_s
                    if self._yields(key, deserts[key], claim, had_quantum=had_quantum):
                        victims.remove(key)
                        chosen.append(key)
                        break
        self.draining = {key: self.draining.get(key, now) for key in chosen}

    def _yields(self, key: int, standing: Standing, claim: Claim, *, had_quantum: bool) -> bool:
        """Return whether a holder is to make room for a claim."""
        if not claim.is_due and claim.priority != standing.priority:
            # Better classes need not wait, and worse ones must.
            return claim.priority < standing.priority
        if claim.is_early:
            return False
        if key in self.draining:
            return True
        return had_quantum and (claim.is_due or claim.served <= standing.owed)

    def _evictable(self) -> list[int]:
        adapters = [holding.account.adapter for holding in self.held.values()]
        return [
            key
            for key, holding in self.held.items()
            if holding.account.adapter not in self._pinned
            or adapters.count(holding.account.adapter) > 1
        ]

    def _waits_for(self, adapter: str) -> bool:
        """Return whether a pin's slot is kept for this adapter, and none of its versions runs."""
        return adapter in self._pinned and all(
            holding.account.adapter != adapter for holding in self.held.values()
        )

    def _count_pins(self) -> None:
        if self._pinned:
            running = {holding.account.adapter for holding in self.held.values()}
            self._idle_pins = len(self._pinned - running)

    def _note_time(self, now: float) -> None:
        self._full_s = self.full_s(now)
        self._seen = now
