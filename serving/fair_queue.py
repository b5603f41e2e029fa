"""vLLM's request queue, in the order of fairness between callers, and between their adapters.

The queue shows a request only while its adapter may run: in a slot that it holds, or in a free
one. So vLLM's `schedule()` neither walks nor skips what cannot run. What is hidden still counts in
`len`, by which the engine knows that there is work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf
from typing import Any

from serving.bills import adapter_of
from serving.flow import Entry, Flow, Line, Order
from serving.front_desk import NOBODY, FrontDesk
from serving.lobby import Claim, Lobby
from serving.slots import NO_SLOT

# (resumed first, own priority, class, adapter's class, what the caller was served, overdue first,
# what its adapter was served or since when it waits, order)
Rank = tuple[bool, float, float, int, float, bool, float, Order]


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
        self._entries: dict[str, Entry] = {}
        self._flows: dict[int, Flow] = {}
        self._lobby = Lobby(is_awake)
        self._popped: dict[str, Entry] = {}
        self._chosen: Entry | None = None
        self._due = NOBODY
        self._ticket = count(1)
        desk.open(self)

    # -- vLLM's interface

    def add_request(self, request: Any) -> None:
        """Add a request behind those of its caller and adapter."""
        self._put(request, next(self._ticket))

    def prepend_request(self, request: Any) -> None:
        """Put a request back, before those of its caller and adapter."""
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
        self._lobby.note_overdue(self._desk.now - self._desk.wait_s)

    def flow(self, key: int) -> Flow | None:
        """Return what waits for version `key`."""
        return self._flows.get(key)

    def overdue(self, most: int) -> int:
        """Return how many adapters have waited too long for a slot, counting up to `most`."""
        return self._lobby.overdue(most)

    def claims(self, *, early: bool) -> Iterator[Claim]:
        """Yield the claims to a slot, as `Lobby.claims` does."""
        return self._lobby.claims(early=early)

    def classes(self) -> set[int]:
        """Return the classes that wait for a slot."""
        return self._lobby.classes()

    def entered(self, key: int) -> None:
        """Take note that version `key` holds a slot now."""
        flow = self._lobby.leave(key)
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
        return sum(flow.size for flow in self._lobby.flows.values())

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
        entry.bill.callers.wait(entry.bill.party)
        self._entries[request.request_id] = entry
        self._chosen = None
        if flow.size == 1 and flow.key != NO_SLOT and flow.key not in self._desk.slots.held:
            self._go_outside(flow)

    def _new_entry(self, request: Any) -> Entry:
        bill = self._desk.bills.bill(request)
        return Entry(request, bill, self._flow_of(request), (0.0, 0.0, 0), self._desk.clock())

    def _flow_of(self, request: Any) -> Flow:
        lora = request.lora_request
        key = lora.lora_int_id if lora else NO_SLOT
        flow = self._flows.get(key)
        if flow is None:
            adapter = adapter_of(lora.lora_name) if lora else ""
            flow = self._flows[key] = Flow(key, adapter, by_priority=self._by_priority)
            if key in self._desk.slots.draining:
                flow.keep_out(self._desk.full_s)
        return flow

    def _take_out(self, entry: Entry) -> None:
        flow = entry.flow
        del self._entries[entry.request.request_id]
        entry.deferred_s += flow.kept_out_s(self._desk.full_s) - entry.mark
        flow.drop(entry)
        entry.bill.callers.wait_no_more(entry.bill.party)
        self._chosen = None
        if not flow.size:
            del self._flows[flow.key]
            self._lobby.leave(flow.key)

    def _go_outside(self, flow: Flow) -> None:
        self._lobby.enter(flow)
        flow.keep_out(self._desk.full_s)
        self._chosen = None

    def _choose(self) -> Entry:
        self._desk.settle()
        if self._chosen is None:
            self._due = self._desk.due
            best = min(self._open_flows(), key=self._rank, default=None)
            if best is None:
                raise IndexError("no request may run now")
            self._chosen = self._first(best).head()
        return self._chosen

    def _open_flows(self) -> Iterator[Flow]:
        """Yield the flows whose first request may run now."""
        slots = self._desk.slots
        for key in (NO_SLOT, *slots.held):
            flow = self._flows.get(key)
            # What was preempted belongs to the drain: it was admitted before.
            if flow is not None and (key not in slots.draining or flow.resumes()):
                yield flow
        if slots.free:
            yield from self._lobby.flows.values()
        elif slots.keeps_a_slot:
            yield from (f for f in self._lobby.flows.values() if slots.has_room(f.adapter))

    def _first(self, flow: Flow) -> Line:
        return flow.first() if self._due is NOBODY else flow.first(self._due_in(flow))

    def _due_in(self, flow: Flow) -> int | None:
        """Return the class that goes first in a flow for once, since it was passed over."""
        for_seat, for_slot = self._due
        if flow.key not in self._lobby.flows:
            return for_seat
        if for_slot is not None and flow.key in self._lobby.late:
            return for_slot
        # A place in the batch, but not the slot that a better class waits for.
        return for_seat if self._desk.is_best_outside(for_seat) else None

    def _rank(self, flow: Flow) -> Rank:
        desk, due = self._desk, None if self._due is NOBODY else self._due_in(flow)
        line = flow.first(due)
        head, party, account = line.head(), line.bill.party, line.bill.account
        is_late = flow.key in self._lobby.late
        adapters_class = account.terms.priority
        # Classes are strict only up to the bounded wait.
        if adapters_class != desk.bills.first_class and (is_late or self._has_waited(flow)):
            adapters_class = desk.bills.first_class
        return (
            not head.resumes,
            head.order[0],
            -inf if party.priority == due else party.priority,
            adapters_class,
            party.served,
            not is_late,
            # Among those that waited too long the longest wait decides, else what is deserved.
            flow.waits_since() if is_late else account.served,
            head.order,
        )

    def _has_waited(self, flow: Flow) -> bool:
        return flow.waits_since() <= self._desk.now - self._desk.wait_s
