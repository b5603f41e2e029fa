"""A small, faithful model of vLLM's admission loop over our queues: no vLLM, no engine."""

from __future__ import annotations

import itertools
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from serving.bills import Bills
from serving.fair_queue import FairQueue
from serving.fair_share import Terms
from serving.front_desk import FrontDesk
from serving.slots import Slots
from serving.turn import Turn, attach, turn_of


@dataclass
class Lora:
    lora_name: str
    lora_int_id: int


@dataclass
class Sampling:
    extra_args: dict[str, Any] | None = None


@dataclass(eq=False)
class Request:
    """What the queue reads off vLLM's requests."""

    request_id: str
    lora_request: Lora | None
    sampling_params: Sampling = field(default_factory=Sampling)
    prompt: int = 10
    max_tokens: int = 10
    priority: int = 0
    arrival_time: float = 0.0
    num_preemptions: int = 0
    num_output_tokens: int = 0
    running: bool = False
    # Not ready, as while a grammar is compiled: schedule() pops it, and puts it back.
    blocked: bool = False
    asleep: bool = False
    admitted: float | None = None

    @property
    def num_tokens(self) -> int:
        return self.prompt + self.num_output_tokens


@dataclass
class Model:
    """An engine of `seqs` places; a step lasts `step_s` and gives each running one token."""

    slots: int = 2
    seqs: int = 8
    terms: dict[str, Terms] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()
    wait_s: float = 2.0
    step_s: float = 0.1
    by_priority: bool = False

    def __post_init__(self) -> None:
        self.now = 0.0
        self.running: list[Request] = []
        self.finished: list[Request] = []
        self.deferred_s: dict[str, float] = {}
        self.served: dict[str, int] = {}
        self.walked = 0
        self._numbers = itertools.count()
        self.desk = FrontDesk(
            Bills(self.terms),
            Slots(self.slots, self.pinned),
            wait_s=self.wait_s,
            is_running=lambda request: bool(request.running),
            clock=lambda: self.now,
        )
        self.queue = FairQueue(
            self.desk,
            by_priority=self.by_priority,
            is_awake=lambda request: not request.asleep,
        )

    def ask(
        self, adapter: str = "", *, version: int = 1, turn: Turn | None = None, **options: Any
    ) -> Request:
        """Add a request for a version of an adapter; "" is the base."""
        name = f"{adapter}@{version:012}"
        lora = Lora(name, zlib.crc32(name.encode()) + 1) if adapter else None
        request = Request(f"r{next(self._numbers)}", lora, arrival_time=self.now, **options)
        if turn is not None:
            attach(request.sampling_params, turn)
        self.queue.add_request(request)
        return request

    def step(self) -> None:
        """As vLLM: admit while there are places, skip what is not ready, then compute."""
        self.desk.begin_step(self.running)
        skipped: list[Request] = []
        while len(self.running) < self.seqs and self.queue:
            request = self.queue.peek_request()
            self.walked += 1
            assert self.queue.pop_request() is request
            if request.blocked or request.asleep or not self._fits(request):
                skipped.insert(0, request)
                continue
            request.running = True
            request.admitted = self.now if request.admitted is None else request.admitted
            self.running.append(request)
        self.desk.settle()
        self.queue.prepend_requests(skipped)
        versions = {r.lora_request.lora_int_id for r in self.running if r.lora_request}
        idle_pins = self.pinned - {adapter(r) for r in self.running}
        assert len(versions) + len(idle_pins) <= self.slots
        self.now += self.step_s
        self._compute()

    def steps(self, number: int) -> None:
        for _ in range(number):
            self.step()

    def preempt(self, request: Request) -> None:
        """Take a running request's place away, as vLLM does when its memory is full."""
        self.running.remove(request)
        request.running = False
        request.num_preemptions += 1
        self.queue.prepend_request(request)

    def end(self, request: Request) -> None:
        """End a request wherever it is."""
        if request.running:
            self.running.remove(request)
        else:
            self.queue.remove_requests([request])
        request.running = False
        self.finished.append(request)
        bill = self.desk.finish(request)
        assert bill is not None
        self.deferred_s[request.request_id] = bill.deferred_s

    def admitted(self) -> list[str]:
        """Return the adapters of what runs, in the order of admission."""
        return [adapter(request) for request in self.running]

    def _fits(self, request: Request) -> bool:
        """vLLM's own check, which ours must never need."""
        versions = {r.lora_request.lora_int_id for r in self.running if r.lora_request}
        lora = request.lora_request
        assert not lora or lora.lora_int_id in versions or len(versions) < self.slots
        return True

    def _compute(self) -> None:
        for request in list(self.running):
            request.num_output_tokens += 1
            self.served[adapter(request)] = self.served.get(adapter(request), 0) + 1
            if request.num_output_tokens >= request.max_tokens:
                self.end(request)


def adapter(request: Request) -> str:
    return request.lora_request.lora_name.partition("@")[0] if request.lora_request else ""


def caller(request: Request) -> str:
    return turn_of(request).caller


def seats(model: Model, number: int) -> list[Request]:
    """Give a place to one request after the other, each ended after a step; return them."""
    admitted: list[Request] = []
    while len(admitted) < number:
        model.step()
        admitted += model.running
        for request in list(model.running):
            model.end(request)
    return admitted[:number]


def flood(
    model: Model, wishes: list[tuple[Turn, str]], *, seconds: float, answer: int = 12
) -> Counter[str]:
    """Keep more waiting of each than there are places; return the tokens that each caller got."""
    rng = random.Random(1)
    waiting: dict[tuple[Turn, str], list[Request]] = {wish: [] for wish in wishes}
    while model.now < seconds:
        for (turn, name), mine in waiting.items():
            mine[:] = [request for request in mine if request.admitted is None]
            while len(mine) < model.seqs + 2:
                length = rng.randint(answer // 2, answer * 3 // 2)
                mine.append(model.ask(name, turn=turn, max_tokens=length))
        model.step()
    tokens: Counter[str] = Counter()
    for request in model.finished:
        tokens[caller(request)] += request.num_tokens
    return tokens


def jain(shares: list[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
