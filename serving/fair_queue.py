"""vLLM's request queue, in the order of fairness between adapters.

The queue shows a request only while its adapter may run: in a slot that it holds, or in a free
one. So vLLM's `schedule()` neither walks nor skips what cannot run. What is hidden still counts in
`len`, by which the engine knows that there is work.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

from serving.flow import Entry, Flow, Order
from serving.front_desk import FrontDesk
from serving.slots import NO_SLOT

# (resumed first, own priority, overdue first, class, served or waiting since, order)
Rank = tuple[bool, float, bool, int, float, Order]


class FairQueue:
    """A vLLM RequestQueue; not a subclass of it, so that it needs no vLLM."""

    def __init__(
        self,
        desk: FrontDesk,
        *,
        by_priority: bool = False,
        is_awake: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """Queue at `desk`, by requests' own priority if `by_priority`.

        is_awake: whether a request could run at all; one that could not asks for no slot.
        """
        self._desk = desk
        self._by_priority = by_priority
        self._is_awake = is_awake
        self._entries: dict[str, Entry] = {}
        self._flows: dict[int, Flow] = {}
        # Flows without a slot; the heap says when each has waited too long, `_overdue` which have.
        self._outside: dict[int, Flow] = {}
        self._ages: list[tuple[float, int]] = []
        self._overdue: dict[int, Flow] = {}
        self._popped: dict[str, Entry] = {}
        self._chosen: Entry | None = None
        self._ticket = count(1)
        desk.open(self)

    # -- vLLM's interface

    def add_request(self, request: Any) -> None:
        """Add a request behind those of its adapter."""
        self._put(request, next(self._ticket))

    def prepend_request(self, request: Any) -> None:
        """Put a request back, before those of its adapter."""
        self._put(request, -next(self._ticket))

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Put requests back, each before the one that comes before it here."""
        for request in requests:
            self.prepend_request(request)

    def peek_request(self) -> Any:
        """Return the request that is to run next. Raises IndexError where none may."""
        return self._choose().request

    def pop_request(self) -> Any:
        """Take out the request that is to run next. Raises IndexError where none may."""
        entry = self._choose()
        self._take_out(entry)
        # It may come back: schedule() also pops what it skips.
        self._popped[entry.request.request_id] = entry
        self._desk.popped(entry)
        return entry.request

    def remove_request(self, request: Any) -> None:
        """Take out one request. Raises ValueError where it is not here."""
        if request.request_id not in self._entries:
            raise ValueError(f"{request.request_id} is not in this queue")
        self.remove_requests([request])

    def remove_requests(self, requests: Iterable[Any]) -> None:
        """Take out those of the requests that are here."""
        for request in requests:
            entry = self._entries.get(request.request_id)
            if entry is not None:
                self._take_out(entry)

    def __bool__(self) -> bool:
        """Return whether any request may run."""
        self._desk.settle()
        return next(self._open_flows(), None) is not None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over all, hidden ones too, flow by flow."""
        for flow in list(self._flows.values()):
            for entry in sorted(flow.entries(), key=lambda each: each.order):
                yield entry.request

    # -- the desk's interface

    def begin_step(self) -> None:
        """Forget the last step; find out who has waited too long by now."""
        self._popped.clear()
        self._chosen = None
        late = self._desk.now - self._desk.wait_s
        while self._ages and self._ages[0][0] <= late:
            _, key = heapq.heappop(self._ages)
            flow = self._outside.get(key)
            if flow is None or key in self._overdue:
                continue
            since = flow.waits_since()
            if since <= late:
                self._overdue[key] = flow
            else:
                heapq.heappush(self._ages, (since, key))

    def overdue(self, most: int) -> int:
        """Return how many adapters have waited too long for a slot, counting up to `most`."""
        flows = (flow for flow in self._overdue.values() if self._could_run(flow))
        return sum(1 for _ in islice(flows, most))

    def entered(self, key: int) -> None:
        """Take note that version `key` holds a slot now."""
        flow = self._outside.pop(key, None)
        self._overdue.pop(key, None)
        if flow is not None:
            flow.let_in(self._desk.full_s)
        self._chosen = None

    def left(self, key: int) -> None:
        """Take note that version `key` gave its slot back."""
        flow = self._flows.get(key)
        if flow is not None:
            self._go_outside(flow)

    def drains(self, key: int, *, begins: bool) -> None:
        """Take note that the slot of version `key` is being emptied, or is so no longer."""
        flow = self._flows.get(key)
        if flow is not None:
            (flow.keep_out if begins else flow.let_in)(self._desk.full_s)

    def hidden(self) -> int:
        """Return how many requests may not run for want of a slot."""
        if self._desk.slots.free:
            return 0
        return sum(flow.size for flow in self._outside.values())

    # -- inside

    def _put(self, request: Any, ticket: int) -> None:
        entry = self._popped.pop(request.request_id, None) or self._new_entry(request)
        # As vLLM's queues: by arrival, or by the requests' own priority.
        entry.order = (
            (request.priority, request.arrival_time, abs(ticket))
            if self._by_priority
            else (0.0, float(ticket), 0)
        )
        entry.live = True
        flow = entry.flow = self._flow_of(request)
        entry.mark = flow.kept_out_s(self._desk.full_s)
        flow.put(entry)
        self._entries[request.request_id] = entry
        self._chosen = None
        if flow.size == 1 and flow.key != NO_SLOT and flow.key not in self._desk.slots.held:
            self._go_outside(flow)

    def _new_entry(self, request: Any) -> Entry:
        return Entry(request, self._flow_of(request), (0.0, 0.0, 0), self._desk.clock())

    def _flow_of(self, request: Any) -> Flow:
        lora = request.lora_request
        key = lora.lora_int_id if lora else NO_SLOT
        account = self._desk.shares.bill(request).account
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(key, account)
            if key in self._desk.slots.draining:
                flow.keep_out(self._desk.full_s)
        return flow

    def _take_out(self, entry: Entry) -> None:
        flow = entry.flow
        del self._entries[entry.request.request_id]
        entry.deferred_s += flow.kept_out_s(self._desk.full_s) - entry.mark
        flow.drop(entry)
        self._chosen = None
        if not flow.size:
            del self._flows[flow.key]
            self._outside.pop(flow.key, None)
            self._overdue.pop(flow.key, None)

    def _go_outside(self, flow: Flow) -> None:
        self._outside[flow.key] = flow
        flow.keep_out(self._desk.full_s)
        heapq.heappush(self._ages, (flow.waits_since(), flow.key))
        self._chosen = None

    def _could_run(self, flow: Flow) -> bool:
        return any(self._is_awake(entry.request) for entry in flow.entries())

    def _choose(self) -> Entry:
        self._desk.settle()
        if self._chosen is None:
            best = min(self._open_flows(), key=self._rank, default=None)
            if best is None:
                raise IndexError("no request may run now")
            self._chosen = best.head()
        return self._chosen

    def _open_flows(self) -> Iterator[Flow]:
        """Yield the flows whose first request may run now."""
        slots = self._desk.slots
        for key in (NO_SLOT, *slots.held):
            flow = self._flows.get(key)
            # What was preempted belongs to the drain: it was admitted before.
            if flow is not None and (key not in slots.draining or _resumes(flow)):
                yield flow
        if slots.free:
            yield from self._outside.values()
        elif slots.keeps_a_slot:
            yield from (flow for flow in self._outside.values() if slots.has_room(flow.account))

    def _rank(self, flow: Flow) -> Rank:
        head, account = flow.head(), flow.account
        overdue = flow.key in self._overdue
        # Classes are strict only up to the bounded wait.
        late = overdue or flow.waits_since() <= self._desk.now - self._desk.wait_s
        return (
            not _resumes(flow),
            head.order[0],
            not overdue,
            self._desk.shares.best_class if late else account.terms.priority,
            # Among those that waited too long the longest wait decides, else what is deserved.
            flow.waits_since() if overdue else account.served,
            head.order,
        )


def _resumes(flow: Flow) -> bool:
    return bool(flow.head().request.num_preemptions)
