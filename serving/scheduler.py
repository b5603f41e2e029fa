"""The engine's scheduler: vLLM's own, with queues that are fair between callers and adapters.

vLLM builds it in the engine's process, from `--scheduler-cls`. `schedule()` is vLLM's; what is
ours is the order in which it sees waiting requests, and which of them it sees at all.
"""

from __future__ import annotations

import time
from typing import Any, cast

from adapters.errors import StartRefused
from serving import deferral, markers
from serving.bills import Bills
from serving.fair_queue import FairQueue
from serving.fair_share import Terms
from serving.front_desk import FrontDesk
from serving.settings import ServingSettings, handed_over
from serving.slots import Slots
from serving.vllm_compat import AsyncScheduler, is_running, is_waiting_for_input


class FairScheduler(AsyncScheduler):
    """Admits by tokens served over tokens entitled, and rotates adapters through the slots."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Replace vLLM's queues. Raises StartRefused where pins leave no slot to the others."""
        super().__init__(*args, **kwargs)
        settings = handed_over()
        slots = self.lora_config.max_loras if self.lora_config else 0
        by_priority = self.policy.value == "priority"
        self._desk = open_desk(settings, slots)
        self.waiting = cast("Any", FairQueue(self._desk, by_priority=by_priority))
        # Sessions that wait for more input hold blocks, but want no slot meanwhile.
        self.kv_holding_waiting = cast(
            "Any",
            FairQueue(
                self._desk,
                by_priority=by_priority,
                is_awake=lambda request: not is_waiting_for_input(request),
            ),
        )
        self._is_ours = settings is not None
        markers.set_marker("scheduler")

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule one step, as vLLM does, from what the queues show."""
        self._desk.begin_step(self.running)
        output = super().schedule(*args, **kwargs)
        self._desk.settle()
        return output

    def make_stats(self, *args: Any, **kwargs: Any) -> Any:
        """Return vLLM's statistics; who waits for a slot counts as deferred, as in vLLM."""
        stats = super().make_stats(*args, **kwargs)
        if stats is not None:
            hidden = min(self._desk.hidden(), stats.num_waiting_reqs)
            stats.num_waiting_reqs -= hidden
            stats.num_skipped_waiting_reqs += hidden
        return stats

    def _free_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        kv_params, *others = super()._free_request(request, *args, **kwargs)
        bill = self._desk.finish(request)
        if self._is_ours and bill is not None:
            kv_params = deferral.attach(kv_params, bill.deferred_s)
        return (kv_params, *others)


def open_desk(settings: ServingSettings | None, slots: int) -> FrontDesk:
    """Return the desk for an engine of that many slots; without settings all are equal.

    Raises StartRefused where pins leave no slot to the others.
    """
    adapters = settings.adapters if settings else {}
    pinned = frozenset(name for name, wish in adapters.items() if wish.pinned)
    if pinned and len(pinned) >= slots:
        raise StartRefused(
            f"{len(pinned)} adapters are pinned and there are {slots} slots, which leaves none to "
            "the others; raise --max-loras, or pin fewer"
        )
    terms = {name: Terms(wish.weight, wish.priority) for name, wish in adapters.items()}
    return FrontDesk(
        Bills(terms),
        Slots(slots, pinned),
        wait_s=settings.fair_wait_s if settings else 2.0,
        is_running=is_running,
        clock=time.monotonic,
    )
