"""Our queues under vLLM's real scheduler.

When a test here fails after an upgrade of vLLM: read what `schedule()` does with `waiting` and
`kv_holding_waiting` (v1/core/sched/scheduler.py), and mend serving/fair_queue.py and
serving/front_desk.py.
"""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import StartRefused
from serving.fair_queue import FairQueue
from serving.settings import AdapterWish, ServingSettings
from serving.turn import BULK, NOBODYS, Turn, attach, turn_of
from tests.contract.scheduler_rig import Engine, Rig, build, version_number
from tests.contract.shapes import parameters

A, B, C = "a-en-fr@1", "b-en-fr@1", "c-en-fr@1"
Build = Callable[..., Rig]
TURNS = tuple(Turn(f"k{number}", 1.0 + number, number % 2) for number in range(7))


@pytest.fixture
def rig_of(tmp_path: Path) -> Build:
    """A function that builds a rig: options of the engine, and adapters' wishes."""

    def make(*, fair: bool = True, adapters: Any = None, **options: Any) -> Rig:
        engine = Engine(**options)
        wishes = {name: AdapterWish(**wish) for name, wish in (adapters or {}).items()}
        settings = ServingSettings(base="b", max_loras=64, adapters=wishes)
        return build(tmp_path, engine, settings, fair=fair)

    return make


def test_our_queue_has_vllms_interface() -> None:
    from vllm.v1.core.sched.request_queue import RequestQueue

    for name in RequestQueue.__abstractmethods__:
        theirs, ours = getattr(RequestQueue, name), getattr(FairQueue, name)
        assert parameters(ours) == parameters(theirs), name


def test_vllm_asks_its_queues_for_nothing_else() -> None:
    """Every use of the two queues in vLLM's scheduler; `len` counts, truth hides."""
    from vllm.v1.core.sched import async_scheduler, scheduler

    used = set()
    for module in (scheduler, async_scheduler):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr in {"waiting", "kv_holding_waiting"}
            ):
                used.add(node.attr)
    assert used == {"add_request", "prepend_request", "prepend_requests", "remove_requests"}


def test_the_hooks_that_we_override_are_there() -> None:
    from vllm.v1.core.sched.scheduler import Scheduler

    assert parameters(Scheduler._free_request)[:2] == ["self", "request"]
    assert parameters(Scheduler.schedule)[0] == "self"
    assert "num_skipped_waiting_reqs" in inspect.getsource(Scheduler.make_stats)
    # Everything that ends a request goes through it, once.
    assert inspect.getsource(Scheduler.finish_requests).count("self._free_request(") == 1
    assert inspect.getsource(Scheduler.update_from_output).count("self._free_request(") == 1


def test_the_states_that_we_ask_for_are_vllms() -> None:
    from vllm.v1.request import RequestStatus

    assert {"RUNNING", "WAITING_FOR_STREAMING_REQ"} <= set(RequestStatus.__members__)


def test_a_turn_travels_to_the_engines_requests_as_vllm_sends_them() -> None:
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine import EngineCoreRequest
    from vllm.v1.request import Request
    from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

    turn = Turn("shop", 2.5, BULK)
    params = SamplingParams(n=2, temperature=1.0, extra_args={"dragoman_turn": ["boss", 9.0, -9]})
    attach(params, turn)
    sent = EngineCoreRequest(
        request_id="r", prompt_token_ids=[5], mm_features=None, sampling_params=params.clone(),
        pooling_params=None, arrival_time=0.0, lora_request=None, cache_salt=None,
        data_parallel_rank=None,
    )  # fmt: skip
    received = MsgpackDecoder(EngineCoreRequest).decode(MsgpackEncoder().encode(sent))
    request = Request.from_engine_core_request(received, block_hasher=None)
    assert turn_of(request) == turn
    # Each choice of a request of several is one of its own.
    assert turn_of(Request("c", [5], copy(params), None)) == turn
    # What vLLM itself looks for in there finds nothing.
    assert (request.kv_transfer_params, request.ec_transfer_params) == (None, None)


def test_it_is_an_async_scheduler_or_vllm_would_turn_that_off() -> None:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    from serving.scheduler import FairScheduler

    assert issubclass(FairScheduler, AsyncScheduler)
    assert "schedule" in vars(FairScheduler)
    assert len(inspect.getsource(FairScheduler.schedule).splitlines()) < 10  # wrapped, not copied


@pytest.mark.slow
def test_every_request_is_answered_in_full_and_carries_its_deferred_wait(rig_of: Build) -> None:
    rig = rig_of(max_loras=1)
    early = [rig.ask(A, answer=60) for _ in range(4)]
    late = rig.ask(B, answer=5)
    rig.run_until_idle()
    assert [rig.answers[name].tokens for name in (*early, late)] == [60] * 4 + [5]
    assert rig.answers[early[0]].params == {"dragoman_deferred_s": 0.0}
    first = rig.answers[late].first
    assert first is not None
    # All but the steps in flight when the slot came free.
    assert rig.answers[late].params["dragoman_deferred_s"] == pytest.approx(first, abs=0.2)


def test_a_steady_stream_on_all_slots_starves_nobody_as_it_does_in_vllm(rig_of: Build) -> None:
    waits: dict[bool, float | None] = {}
    for fair in (True, False):
        rig = rig_of(fair=fair, max_loras=2, seqs=8)
        late = ""
        while rig.now < 6:
            for adapter in (A, B):
                if rig.running().count(adapter) < 3:
                    rig.ask(adapter, answer=20)
            if rig.now > 1 and not late:
                late = rig.ask(C)
            rig.step()
        first = rig.answers[late].first
        waits[fair] = None if first is None else first - rig.answers[late].asked
    assert waits[False] is None
    waited = waits[True]
    assert waited is not None
    # 2 s and one drain, of 20 steps of 0.03 s.
    assert waited < 2 + 0.6 + 0.2


def test_a_pin_and_two_others_never_need_more_slots_than_there_are(rig_of: Build) -> None:
    for fair in (True, False):
        rig = rig_of(fair=fair, max_loras=2, adapters={"a-en-fr": {"pinned": True}})
        for adapter in (B, C, A, B, C):
            rig.ask(adapter, answer=10)
        rig.run_until_idle()
        # In the worker a's weights stay in their slot, asked for or not.
        most = max(len({version_number(A)} | step) for step in rig.adapters_of_steps)
        assert most == (2 if fair else 3)


def test_pins_that_leave_no_slot_are_refused(rig_of: Build) -> None:
    with pytest.raises(StartRefused, match="raise --max-loras"):
        rig_of(max_loras=1, adapters={"a-en-fr": {"pinned": True}})


def test_waiting_for_a_slot_counts_as_deferred(rig_of: Build) -> None:
    rig = rig_of(max_loras=1)
    for adapter in (A, B, B):
        rig.ask(adapter, answer=20)
    for _ in range(3):
        rig.step()
    stats = rig.scheduler.make_stats()
    assert (stats.num_running_reqs, stats.num_waiting_reqs) == (1, 0)
    assert stats.num_skipped_waiting_reqs == 2
    assert rig.scheduler.has_unfinished_requests()


def test_requests_own_priority_is_upstreams(rig_of: Build) -> None:
    order = {}
    for fair in (True, False):
        rig = rig_of(fair=fair, seqs=1, policy="priority")
        for priority in (3, 1, 2, 0):
            rig.ask("", answer=3, priority=priority)
        rig.run_until_idle()
        order[fair] = sorted(rig.answers, key=lambda name: rig.answers[name].done or 0)
    assert order[True] == order[False] == ["r3", "r1", "r2", "r0"]


def test_a_session_of_streamed_input_goes_on_where_it_was(rig_of: Build) -> None:
    rig = rig_of(max_loras=1)
    name = rig.ask(A, answer=2, resumable=True)
    session = rig.requests[name]
    for _ in range(10):
        rig.step()
    assert session.status.name == "WAITING_FOR_STREAMING_REQ"
    other = rig.ask(B, answer=3)
    for _ in range(10):
        rig.step()
    # Idle, it keeps nobody from the slot.
    assert rig.answers[other].done is not None
    rig.ask_again(session, answer=2)
    for _ in range(10):
        rig.step()
    assert rig.answers[name].tokens == 4


def test_a_random_life_of_the_real_scheduler_never_stalls(rig_of: Build) -> None:
    churn(rig_of, seed=3, steps=250)


def test_a_random_life_of_many_keys_never_stalls_in_the_real_scheduler(rig_of: Build) -> None:
    churn(rig_of, seed=3, steps=250, turns=TURNS)


def test_interactive_goes_before_bulk_in_the_real_scheduler(rig_of: Build) -> None:
    rig = rig_of(max_loras=2, seqs=1)
    bulk = [rig.ask(A, answer=10, turn=Turn("slow", 1.0, BULK)) for _ in range(3)]
    for _ in range(3):
        rig.step()
    urgent = rig.ask(B, answer=10, turn=Turn("shop"))
    rig.run_until_idle()
    done = sorted((answer.done or 0, name) for name, answer in rig.answers.items())
    assert [name for _, name in done] == [bulk[0], urgent, *bulk[1:]]


@pytest.mark.slow
def test_fifty_thousand_random_steps_never_stall(rig_of: Build) -> None:
    churn(rig_of, seed=4, steps=50_000)


@pytest.mark.slow
def test_fifty_thousand_random_steps_of_many_keys_never_stall(rig_of: Build) -> None:
    churn(rig_of, seed=6, steps=50_000, turns=TURNS)


def churn(rig_of: Build, *, seed: int, steps: int, turns: Sequence[Turn] = (NOBODYS,)) -> None:
    """Bursts, hang-ups, pins, weights, memory for half of what is asked: then all must end."""
    rng = random.Random(seed)
    wishes = {
        "x0-en-fr": {"pinned": True},
        "x1-en-fr": {"weight": 5.0},
        "x2-en-fr": {"priority": -1},
    }
    rig = rig_of(max_loras=3, seqs=6, blocks=24, adapters=wishes)
    pin = version_number("x0-en-fr@1")
    asked = 0
    for step in range(steps):
        busy = step // 300 % 2 == 0
        if rng.random() < (0.35 if busy else 0.05):
            number, version = min(int(rng.expovariate(0.3)), 15), rng.choice((1, 1, 1, 2))
            adapter = f"x{number}-en-fr@{version if number else 1}" if rng.random() < 0.9 else ""
            turn = turns[asked % len(turns)]
            rig.ask(adapter, prompt=rng.randint(1, 100), answer=rng.choice((1, 4, 25)), turn=turn)
            asked += 1
        if rig.requests and rng.random() < 0.03:
            rig.abort(rng.choice(list(rig.requests)))
        rig.step()
        if step % 1000 == 0:
            rig.forget_the_past(pin, most=3)
    rig.run_until_idle(60 * len(rig.requests) + 100)
    rig.forget_the_past(pin, most=3)
    assert asked > steps / 20
    desk = rig.scheduler._desk
    assert (len(desk.bills), len(rig.scheduler.requests)) == (0, 0)
    assert rig.preempted, "memory was never short: the test proves less than it says"
