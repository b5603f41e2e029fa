"""The worker's memory of adapters: what vLLM's manager does, without a stall and without a loss.

vLLM reads an adapter inside the engine's step, gives it a slot at once (if need be a decoding
adapter's), and reads one that it has evicted again in mid-step, where a file that is gone by now
ends the engine. Here an adapter is read beside the steps, gets a slot in the first step that needs
it, and stays in memory for as long as somebody holds a lease on it.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.manifest import no_rest
from adapters.version_folder import identity
from serving.adapter_reading import AdapterReader
from serving.adapter_slots import SlotManager
from serving.leases import Leases
from serving.pace import Pace
from serving.vllm_compat import LRUCacheWorkerLoRAManager, lora_request

# The longest step of a small machine, a full prefill, takes about so long.
_DECODING_S: Final = 0.5
_EVENTS: Final = 10_000

State = tuple[str, str]


@dataclass(frozen=True)
class Wanted:
    """A version to read: how the engine names it, where it lies, what its metrics are called."""

    number: int
    name: str
    folder: str
    # What the folder looked like when it was verified; empty if that cannot be said.
    identity: str
    labels: tuple[str, str]
    # A prefetch takes the place of versions only that nobody used for so long; 0: of any.
    idle_s: float = 0.0


class AdapterStore(LRUCacheWorkerLoRAManager):
    """vLLM's manager of the adapters in memory (LRU) and in slots (LRU), with leases.

    Every method runs in the worker's own thread, between or inside steps; only `_read` does not.
    """

    _manager_cls = SlotManager

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"lora_model_cls": AdapterReader(no_rest), **options})
        self._prepare()

    def _prepare(self) -> None:
        self._leases = Leases()
        self._pins: frozenset[int] = frozenset()
        self._arriving: dict[int, tuple[Wanted, Future[Any]]] = {}
        self._wanted: dict[int, Wanted] = {}
        self._used_at: dict[int, float] = {}
        self._running: Collection[int] = ()
        self._stepped_at = float("-inf")
        self._events: deque[tuple[str, str, str, str]] = deque(maxlen=_EVENTS)
        self._reader = ThreadPoolExecutor(1, "dragoman-reader", initializer=_use_all_cores)

    # What the API processes ask for, by way of the worker extension.

    def lease(self, client: str, number: int) -> bool:
        """Return whether a version is in memory; it then stays there until `client` lets go."""
        self._settle()
        if number not in self._cached:
            return False
        self._leases.grant(client, number)
        self._touch(number)
        return True

    def load(self, client: str, wanted: Wanted) -> State:
        """Return the state of a version, and why it failed: ask again until it is no `loading`.

        started | loading   it is being read; it is leased from now on
        ready               it is in memory, and leased
        full                everything in memory is in use, or too recently used for a prefetch
        failed              reading it failed; asking again reads it again
        """
        self._settle()
        number = wanted.number
        if self.lease(client, number):
            return "ready", ""
        if number in self._arriving:
            future = self._arriving[number][1]
            if future.done():
                del self._arriving[number]
                error = future.exception()
                return "failed", f"{type(error).__name__}: {error}"
            self._leases.grant(client, number)
            return "loading", ""
        if not self._make_room(wanted.idle_s):
            return "full", ""
        self._arriving[number] = wanted, self._reader.submit(self._read, wanted)
        self._leases.grant(client, number)
        return "started", ""

    def report(
        self, client: str, leased: Iterable[int], pinned: Iterable[int], gone: Iterable[int]
    ) -> dict[str, Any]:
        """Take in all that `client` uses now, and return what is where.

        pinned keep their slots; gone are forgotten, unless another client uses them. Events are
        told to one client only, so that several of them count each once.
        """
        self._settle()
        self._leases.replace(client, leased)
        self._pins = frozenset(pinned)
        for number in {*gone} & {*self._cached} - self._kept():
            self._evict(number)
        self._give_pins_slots()
        events = [list(event) for event in self._events]
        self._events.clear()
        active = self._adapter_manager._active_adapters
        return {
            "versions": [
                [number, wanted.name, *wanted.labels, "engine" if number in active else "cpu"]
                for number in self._cached
                if (wanted := self._wanted.get(number))
            ],
            "events": events,
            "room": self._adapter_manager.capacity - len(self._kept()),
            "capacity": self._adapter_manager.capacity,
            "is_decoding": self.is_decoding(),
        }

    def is_decoding(self) -> bool:
        """Return whether the engine is stepping, so that other work must keep out of its way."""
        return time.monotonic() - self._stepped_at < _DECODING_S

    # What vLLM calls in each step.

    def _apply_adapters(self, lora_requests: set[Any]) -> None:
        needed = {request.lora_int_id: request for request in lora_requests if request}
        manager = self._adapter_manager
        if len(needed) > manager.lora_slots:
            raise RuntimeError(
                f"{len(needed)} adapters in one step, but {manager.lora_slots} slots: the "
                "scheduler let too many in"
            )
        self._settle()
        self._stepped_at = time.monotonic()
        self._running = needed.keys()
        active = manager._active_adapters
        for number in needed:
            self._touch(number)
            active.touch(number)
        missing = [n for n, r in needed.items() if n not in active or r.load_inplace]
        if missing:
            self._free_slots(len(missing), needed)
        for number in missing:
            self._activate(needed[number])

    def _activate(self, request: Any) -> None:
        number = request.lora_int_id
        if number in self._cached and not request.load_inplace:
            self._adapter_manager.activate_adapter(number)
            return
        # Only adapters of vLLM's own flags: those of the registry are leased while in use.
        self._count("load", "step", number)
        self.add_adapter(request)

    def add_adapter(self, lora_request: Any) -> bool:
        """Read an adapter at once, and give it a slot: how vLLM loads those of its own flags."""
        number = lora_request.lora_int_id
        if number not in self._cached and not self._make_room(0.0):
            raise RuntimeError(
                f"{lora_request.lora_name}: every adapter in memory is in use; start the server "
                "with a higher --max-cpu-loras"
            )
        if number not in self._adapter_manager._active_adapters:
            self._free_slots(1, self._now_running())
        return super().add_adapter(lora_request)

    # Memory

    @property
    def _cached(self) -> Mapping[int, Any]:
        cached: Mapping[int, Any] = self._adapter_manager._registered_adapters
        return cached

    def _kept(self) -> set[int]:
        """Return what must stay in memory: leased, running, pinned, or given by vLLM's flags."""
        foreign = self._cached.keys() - self._wanted.keys()
        return self._leases.held().union(self._now_running(), self._pins, foreign)

    def _now_running(self) -> Collection[int]:
        return self._running if self.is_decoding() else ()

    def _make_room(self, idle_s: float) -> bool:
        """Return whether one more version fits, after evicting one if need be."""
        manager = self._adapter_manager
        if len(self._cached) + len(self._arriving) < manager.capacity:
            return True
        kept, before = self._kept(), time.monotonic() - idle_s
        for number in manager._registered_adapters.order:
            if number not in kept and self._used_at.get(number, before) <= before:
                self._evict(number)
                return True
        return False

    def _evict(self, number: int) -> None:
        if number in self._adapter_manager._active_adapters:
            self._count("evict", "engine", number)
        self._count("evict", "cpu", number)
        self._adapter_manager.remove_adapter(number)
        self._wanted.pop(number, None)
        self._used_at.pop(number, None)

    def _settle(self) -> None:
        """Take in what has been read by now. It gets its slot in the first step that needs it."""
        done = [n for n, (_, future) in self._arriving.items() if future.done()]
        for number in done:
            wanted, future = self._arriving[number]
            if future.exception() is None:
                del self._arriving[number]
                self._adapter_manager._registered_adapters[number] = future.result()
                self._wanted[number] = wanted
                self._touch(number)
            elif number not in self._leases.held():
                del self._arriving[number]  # nobody is left to ask why it failed

    def _touch(self, number: int) -> None:
        self._adapter_manager._registered_adapters.touch(number)
        self._used_at[number] = time.monotonic()

    # Slots

    def _free_slots(self, count: int, needed: Collection[int]) -> None:
        """Make `count` slots free: least recently used first, pinned ones only if all else fails.

        vLLM's own choice may fall on an adapter of the same step, and raises where pins are left.
        """
        manager = self._adapter_manager
        idle = [n for n in manager._active_adapters.order if n not in needed]
        idle.sort(key=self._pins.__contains__)
        free = manager.lora_slots - len(manager._active_adapters)
        for number in idle[: max(0, count - free)]:
            manager.deactivate_adapter(number)
            self._count("evict", "engine", number)

    def _give_pins_slots(self) -> None:
        manager = self._adapter_manager
        for number in self._pins:
            taken = {*self._now_running(), *self._pins}
            if number in manager._active_adapters or number not in self._cached:
                continue
            self._free_slots(1, taken)
            if len(manager._active_adapters) < manager.lora_slots:
                manager.activate_adapter(number)

    def _count(self, kind: str, where: str, number: int) -> None:
        if wanted := self._wanted.get(number):
            self._events.append((kind, where, *wanted.labels))

    # In the reader's thread

    def _read(self, wanted: Wanted) -> Any:
        reader = copy.copy(self)
        reader._lora_model_cls = AdapterReader(Pace(self.is_decoding))  # type: ignore[assignment]
        folder = Path(wanted.folder)
        lora = reader._load_adapter(
            lora_request(wanted.name, lora_int_id=wanted.number, folder=folder)
        )
        if wanted.identity and identity(folder) != wanted.identity:
            raise ValueError(f"{folder}: changed while it was read; restore it")
        self._adapter_manager._validate_moe_lora_format(lora)
        self._adapter_manager._create_merged_loras_inplace(lora)
        return lora


def _use_all_cores() -> None:
    # The worker's threads are each bound to a core; the reader shall take whichever is free.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(threading.get_native_id(), range(os.cpu_count() or 1))
