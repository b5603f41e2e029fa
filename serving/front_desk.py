"""Where the queues and the slots meet: one step of the engine at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain
from math import inf
from typing import Any, Final, Protocol

from serving.bills import Bill, Bills
from serving.fair_share import Account
from serving.flow import Entry, Flow
from serving.lobby import Claim
from serving.patience import Patience
from serving.slots import NO_SLOT, Slots, Standing

# The class that goes first for once: for a place in the batch, and for a slot.
Due = tuple[int | None, int | None]
NOBODY: Final[Due] = (None, None)


class Queue(Protocol):
    """What the desk tells its queues, and asks of them."""

    def begin_step(self) -> None: ...

    def flow(self, key: int) -> Flow | None: ...

    def overdue(self, most: int) -> int: ...

    def claims(self, *, early: bool) -> Iterator[Claim]: ...

    def classes(self) -> set[int]: ...

    def entered(self, key: int) -> None: ...

    def left(self, key: int) -> None: ...

    def drains(self, key: int, *, begins: bool) -> None: ...

    def hidden(self) -> int: ...


class FrontDesk:
    """Lets waiting requests in by turns; the queues of one scheduler share it."""

    def __init__(
        self,
        bills: Bills,
        slots: Slots,
        *,
        wait_s: float,
        is_running: Callable[[Any], bool],
        clock: Callable[[], float],
    ) -> None:
        """Take `is_running` for whether schedule() admitted a request that it popped."""
        self.bills = bills
        self.slots = slots
        self.wait_s = wait_s
        self.clock = clock
        self.now = clock()
        # Where requests of several classes are here: those that wait for slots.
        self._is_mixed = False
        self._outside: set[int] = set()
        self._seats = Patience(wait_s)
        self._doors = Patience(wait_s)
        self._is_running = is_running
        self._queues: list[Queue] = []
        self._popped: Entry | None = None

    @property
    def full_s(self) -> float:
        """For how long all slots have been taken."""
        return self.slots.full_s(self.now)

    @property
    def due(self) -> Due:
        """The classes that are to have the next place, and the next slot: they were passed over."""
        return (self._seats.due(self.now), self._doors.due(self.now)) if self._is_mixed else NOBODY

    def is_best_outside(self, priority: int | None) -> bool:
        """Return whether no better class waits for a slot."""
        return priority is not None and all(priority <= other for other in self._outside)

    def open(self, queue: Queue) -> None:
        """Add a queue."""
        self._queues.append(queue)

    def begin_step(self, running: Collection[Any]) -> None:
        """Take in what runs, before vLLM schedules the next step."""
        self.settle()
        self.now = max(self.now, self.clock())
        versions = self._versions(running)
        gone = self.slots.recount(versions, now=self.now)
        for key, account in versions.items():
            self._take(key, account)
        for queue in self._queues:
            for key in gone:
                queue.left(key)
            queue.begin_step()
        self._note_classes(running)
        self._plan(running)

    def popped(self, entry: Entry) -> None:
        """Remember what schedule() took; whether it was let in shows when it asks again."""
        self._popped = entry

    def settle(self) -> None:
        """Note the request that was popped last as running, if it is."""
        entry, self._popped = self._popped, None
        if entry is None or not self._is_running(entry.request):
            return
        bill, flow = entry.bill, entry.flow
        self.bills.admit(entry.request, bill)
        bill.deferred_s += entry.deferred_s
        flow.last_admitted = self.now
        took_slot = self._take(flow.key, bill.account)
        if self._is_mixed:
            self._seats.had_turn(bill.party.priority)
            self._seats.pass_over(bill.party.priority, now=self.now)
            if took_slot:
                self._doors.had_turn(bill.party.priority)

    def finish(self, request: Any) -> Bill | None:
        """Close a request's bill."""
        return self.bills.finish(request)

    def hidden(self) -> int:
        """Return how many requests wait for a slot."""
        return sum(queue.hidden() for queue in self._queues)

    def _take(self, key: int, account: Account) -> bool:
        is_new = self.slots.take(key, account, now=self.now)
        if is_new:
            for queue in self._queues:
                queue.entered(key)
        return is_new

    def _note_classes(self, running: Collection[Any]) -> None:
        was_mixed, self._is_mixed = self._is_mixed, len(self.bills.classes) > 1
        if not (was_mixed or self._is_mixed):
            return
        self._seats.begin_step(self.bills.waiting())
        self._outside = set[int]().union(*(queue.classes() for queue in self._queues))
        self._doors.begin_step(self._outside)
        if self._outside:
            for holder in {each.priority for each in self._standings(running).values()}:
                self._doors.had_turn(holder)
                self._doors.pass_over(holder, now=self.now)

    def _plan(self, running: Collection[Any]) -> None:
        before = self.slots.draining.keys()
        claims = self._claims(len(self.slots.held) + self.slots.free)
        self.slots.plan(claims, lambda: self._standings(running), now=self.now, wait_s=self.wait_s)
        after = self.slots.draining.keys()
        if before == after:
            return
        for queue in self._queues:
            for key in before - after:
                if key in self.slots.held:
                    queue.drains(key, begins=False)
            for key in after - before:
                queue.drains(key, begins=True)

    def _claims(self, most: int) -> list[Claim]:
        """Return who wants a slot, those that go first to the front; at most as many as that."""
        if not self.bills.are_shared:
            alike = Claim(min(self.bills.classes, default=0), served=-inf)
            return [alike] * sum(queue.overdue(most) for queue in self._queues)
        early, due = self._is_mixed, self.due[1]
        claims = sorted(chain.from_iterable(queue.claims(early=early) for queue in self._queues))
        passed_over = next((c for c in claims if c.priority == due and not c.is_early), None)
        if passed_over is not None:
            claims.remove(passed_over)
            claims.insert(0, passed_over._replace(is_due=True))
        return claims[:most]

    def _standings(self, running: Collection[Any]) -> dict[int, Standing]:
        """Return how much each holder of a slot deserves it: as the first of those that use it."""
        if not self.bills.are_shared:
            alone = min(self.bills.classes, default=0)
            held = ((key, holding.account) for key, holding in self.slots.held.items())
            return {
                key: Standing(alone, each.terms.priority, 0.0, each.served) for key, each in held
            }
        users = self._users(running)
        standings: dict[int, Standing] = {}
        for key, accounts in users.items():
            flows = filter(None, (queue.flow(key) for queue in self._queues))
            waiting = [flow.first().bill for flow in flows]
            first = min(map(_standing, chain(accounts.values(), waiting)))
            owed = min((bill.party.served for bill in waiting), default=inf)
            standings[key] = first._replace(owed=owed)
        return standings

    def _users(self, running: Collection[Any]) -> dict[int, dict[Account, Bill]]:
        """Return who runs on each slot: one bill of each account."""
        users: dict[int, dict[Account, Bill]] = {}
        for request in running:
            if request.lora_request is not None:
                bill = self.bills.bill(request)
                users.setdefault(request.lora_request.lora_int_id, {})[bill.account] = bill
        return users

    def _versions(self, running: Collection[Any]) -> dict[int, Account]:
        accounts: dict[int, Account] = {}
        for request in running:
            lora = request.lora_request
            if lora is not None and lora.lora_int_id not in accounts:
                accounts[lora.lora_int_id] = self.bills.bill(request).account
        accounts.pop(NO_SLOT, None)
        return accounts


def _standing(bill: Bill) -> Standing:
    party, account = bill.party, bill.account
    return Standing(party.priority, account.terms.priority, party.served, account.served)
