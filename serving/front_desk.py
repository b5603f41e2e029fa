"""Where the queues and the slots meet: one step of the engine at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from serving.fair_share import Account, Bill, Shares
from serving.flow import Entry
from serving.slots import NO_SLOT, Slots


class Queue(Protocol):
    """What the desk tells its queues."""

    def begin_step(self) -> None: ...

    def overdue(self, most: int) -> int: ...

    def entered(self, key: int) -> None: ...

    def left(self, key: int) -> None: ...

    def drains(self, key: int, *, begins: bool) -> None: ...

    def hidden(self) -> int: ...


class FrontDesk:
    """Lets waiting requests in by turns; the queues of one scheduler share it."""

    def __init__(
        self,
        shares: Shares,
        slots: Slots,
        *,
        wait_s: float,
        is_running: Callable[[Any], bool],
        clock: Callable[[], float],
    ) -> None:
        """Take `is_running` for whether schedule() admitted a request that it popped."""
        self.shares = shares
        self.slots = slots
        self.wait_s = wait_s
        self.clock = clock
        self.now = clock()
        self._is_running = is_running
        self._queues: list[Queue] = []
        self._popped: Entry | None = None

    @property
    def full_s(self) -> float:
        """For how long all slots have been taken."""
        return self.slots.full_s(self.now)

    def open(self, queue: Queue) -> None:
        """Add a queue."""
        self._queues.append(queue)

    def begin_step(self, running: Iterable[Any]) -> None:
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
        self._plan()

    def popped(self, entry: Entry) -> None:
        """Remember what schedule() took; whether it was let in shows when it asks again."""
        self._popped = entry

    def settle(self) -> None:
        """Note the request that was popped last as running, if it is."""
        entry, self._popped = self._popped, None
        if entry is None or not self._is_running(entry.request):
            return
        self.shares.admit(entry.request)
        self.shares.bill(entry.request).deferred_s += entry.deferred_s
        flow = entry.flow
        flow.last_admitted = self.now
        self._take(flow.key, flow.account)

    def finish(self, request: Any) -> Bill | None:
        """Close a request's bill."""
        return self.shares.finish(request)

    def hidden(self) -> int:
        """Return how many requests wait for a slot."""
        return sum(queue.hidden() for queue in self._queues)

    def _take(self, key: int, account: Account) -> None:
        if self.slots.take(key, account, now=self.now):
            for queue in self._queues:
                queue.entered(key)

    def _plan(self) -> None:
        before = self.slots.draining.keys()
        most = len(self.slots.held) + self.slots.free
        overdue = sum(queue.overdue(most) for queue in self._queues)
        self.slots.plan(overdue, now=self.now, wait_s=self.wait_s)
        for queue in self._queues:
            for key in before - self.slots.draining.keys():
                if key in self.slots.held:
                    queue.drains(key, begins=False)
            for key in self.slots.draining.keys() - before:
                queue.drains(key, begins=True)

    def _versions(self, running: Iterable[Any]) -> dict[int, Account]:
        accounts: dict[int, Account] = {}
        for request in running:
            lora = request.lora_request
            if lora is not None and lora.lora_int_id not in accounts:
                accounts[lora.lora_int_id] = self.shares.bill(request).account
        accounts.pop(NO_SLOT, None)
        return accounts
