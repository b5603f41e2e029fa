from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from serving.fair_share import Terms
from tests.serving.fair_rig import Model, Request, adapter, jain

A, B, C, D = "a-en-fr", "b-en-fr", "c-en-fr", "d-en-fr"


def first_turns(model: Model, requests: list[Request]) -> list[str]:
    """Admit one by one; return whose turn it was each time."""
    turns = []
    for _ in requests:
        model.step()
        turns += model.admitted()
        for request in list(model.running):
            model.end(request)
    return turns


def test_adapters_take_turns_however_many_requests_one_sends() -> None:
    model = Model(seqs=1)
    requests = [model.ask(A) for _ in range(20)] + [model.ask(B) for _ in range(3)]
    assert sorted(first_turns(model, requests)[:6]) == [A, A, A, B, B, B]


def test_turns_are_shared_by_tokens_and_not_by_requests() -> None:
    model = Model(seqs=1)
    asked = [model.ask(A, prompt=100) for _ in range(40)] + [model.ask(B) for _ in range(80)]
    turns = first_turns(model, asked[:70])
    # Ended after one token each: 101 against 11 tokens.
    assert 7.5 <= turns.count(B) / turns.count(A) <= 11


def test_weights_share_the_tokens() -> None:
    model = Model(seqs=1, terms={A: Terms(weight=3.0)})
    asked = [model.ask(name) for name in (A, B) for _ in range(100)]
    turns = first_turns(model, asked[:80])
    assert turns.count(A) == pytest.approx(60, abs=2)


def test_the_base_is_one_more_adapter_and_needs_no_slot() -> None:
    model = Model(slots=1, seqs=4)
    for name in (A, "", B):
        model.ask(name)
    model.step()
    assert sorted(model.admitted()) == ["", A]


def test_an_adapter_that_returns_from_idle_cashes_in_no_old_credit() -> None:
    model = Model(seqs=1)
    model.end(model.ask(B))
    first_turns(model, [model.ask(A) for _ in range(50)])
    asked = [model.ask(name) for name in (A, B) for _ in range(20)]
    assert first_turns(model, asked[:20]).count(B) == pytest.approx(10, abs=1)


def test_one_that_left_in_debt_finds_its_debt_again() -> None:
    model = Model(seqs=2, slots=3)
    model.ask(A, prompt=1000)
    other = model.ask(B, max_tokens=10_000)
    model.step()
    model.end(model.running[0])
    assert [adapter(request) for request in model.running] == [B]
    model.ask(A)
    model.ask(C)
    model.step()
    assert model.admitted() == [B, C]
    assert other.running


def test_classes_are_strict_until_the_bounded_wait_is_over() -> None:
    model = Model(seqs=1, step_s=0.5, terms={A: Terms(priority=-1)})
    asked = [model.ask(name) for name in (B, *[A] * 30)]
    turns = first_turns(model, asked[:6])
    assert turns[:4] == [A] * 4
    assert turns.count(B) == 1


def test_requests_without_a_slot_are_hidden_but_counted() -> None:
    model = Model(slots=1, seqs=8)
    for name in (A, B, B, B):
        model.ask(name)
    model.steps(3)
    assert not model.queue
    assert (len(model.queue), model.queue.hidden()) == (3, 3)
    assert {adapter(request) for request in model.queue} == {B}
    # The loop never walks over what cannot run.
    assert model.walked == 1


def test_a_slot_is_drained_for_whoever_waits_too_long() -> None:
    model = Model(slots=2, seqs=8, step_s=0.1, wait_s=2.0)
    late: Request | None = None
    for step in range(80):
        for name in (A, B):
            model.ask(name, max_tokens=10)
        if step == 5:
            late = model.ask(C)
        model.step()
    assert late is not None
    assert late.admitted is not None
    # 2 s, and one drain: ten tokens at 0.1 s.
    assert 2.0 <= late.admitted - late.arrival_time <= 2.0 + 1.0 + 0.2
    assert model.deferred_s[late.request_id] == pytest.approx(late.admitted - 0.5, abs=0.11)


def test_a_drain_ends_when_nobody_waits_any_more() -> None:
    model = Model(slots=1, seqs=8)
    model.ask(A, max_tokens=1000)
    late = model.ask(B)
    model.steps(25)
    assert model.desk.slots.draining
    held_back = model.ask(A)
    model.step()
    assert not held_back.running
    model.end(late)
    model.step()
    assert held_back.running


def test_who_came_in_keeps_its_slot_for_a_quantum() -> None:
    model = Model(slots=1, seqs=4, step_s=0.1, wait_s=2.0)
    for name in (A, B, C):
        for index in range(100):
            model.ask(name, max_tokens=3 + index % 5)
    model.steps(300)
    turns = [adapter(request) for request in model.finished]
    switches = sum(here != there for here, there in itertools.pairwise(turns))
    # A quantum is one and a half drains, which last 0.7 s here: ten steps of four places.
    assert 5 < switches <= len(turns) / 8


def test_a_pinned_adapter_keeps_its_slot_while_it_is_idle() -> None:
    model = Model(slots=2, pinned=frozenset({A}))
    model.ask(B, max_tokens=50)
    model.ask(C)
    model.steps(3)
    assert model.admitted() == [B]
    model.ask(A)
    model.step()
    assert model.admitted() == [B, A]


def test_a_pinned_adapter_is_never_drained_for_the_others() -> None:
    model = Model(slots=2, pinned=frozenset({A}))
    for _ in range(100):
        model.ask(A)
        model.ask(B)
        model.ask(C)
        model.step()
        assert all(
            model.desk.slots.held[key].account.adapter != A for key in model.desk.slots.draining
        )
    assert min(model.served[name] for name in (A, B, C)) > 20


def test_two_versions_of_a_pinned_adapter_take_two_slots() -> None:
    model = Model(slots=2, pinned=frozenset({A}))
    model.ask(A, version=1, max_tokens=100)
    model.ask(A, version=2, max_tokens=100)
    model.step()
    model.ask(B)
    model.steps(2)
    assert model.admitted() == [A, A]


def test_the_versions_of_one_adapter_share_its_turns() -> None:
    model = Model(slots=3, seqs=1)
    asked = [model.ask(name, version=v) for name, v in ((A, 1), (A, 2), (B, 1)) for _ in range(20)]
    assert first_turns(model, asked[:24]).count(A) == pytest.approx(12, abs=1)


def test_what_was_preempted_goes_on_first_even_while_its_slot_drains() -> None:
    model = Model(slots=1, seqs=2)
    first = model.ask(A, max_tokens=1000)
    model.ask(A, max_tokens=1000)
    model.step()
    model.ask(B)
    model.steps(30)
    assert model.desk.slots.draining
    model.preempt(first)
    model.step()
    assert first.running


def test_a_request_that_is_not_ready_holds_up_nobody_and_takes_no_slot() -> None:
    model = Model(slots=1, seqs=4)
    blocked = model.ask(A, blocked=True)
    model.ask(B)
    model.step()
    assert model.admitted() == [B]
    assert set(model.desk.slots.held) == {model.running[0].lora_request.lora_int_id}  # type: ignore[union-attr]
    model.end(model.running[0])
    blocked.blocked = False
    model.step()
    assert model.admitted() == [A]


def test_a_session_that_waits_for_its_client_asks_for_no_slot() -> None:
    model = Model(slots=1, seqs=4)
    model.ask(A, max_tokens=1000)
    sleeper = model.ask(B, asleep=True)
    model.steps(30)
    assert not model.desk.slots.draining
    sleeper.asleep = False
    model.step()
    assert model.desk.slots.draining


def test_a_session_that_waits_for_its_client_hides_nobody_behind_it() -> None:
    model = Model(slots=1, seqs=4)
    model.ask(A, max_tokens=1000)
    model.ask(B, asleep=True)
    model.ask(B)
    model.steps(30)
    assert model.desk.slots.draining


def test_requests_of_one_adapter_stay_in_order_when_they_are_put_back() -> None:
    model = Model(seqs=8)
    requests = [model.ask(A, blocked=True) for _ in range(4)]
    model.steps(3)
    assert list(model.queue) == requests
    front = model.ask(A)
    model.queue.remove_request(front)
    model.queue.prepend_request(front)
    assert list(model.queue) == [front, *requests]


def test_requests_own_priority_wins_where_vllm_runs_by_priority() -> None:
    model = Model(seqs=1, by_priority=True)
    for priority in (2, 0, 1):
        model.ask(A, priority=priority, max_tokens=1)
    urgent = model.ask(B, priority=-5, max_tokens=1)
    model.steps(4)
    assert model.finished[0] is urgent
    assert [request.priority for request in model.finished] == [-5, 0, 1, 2]


def test_what_is_not_there_can_neither_be_taken_nor_removed() -> None:
    model = Model()
    stranger = Request("stranger", None)
    with pytest.raises(IndexError):
        model.queue.peek_request()
    with pytest.raises(IndexError):
        model.queue.pop_request()
    with pytest.raises(ValueError, match="stranger"):
        model.queue.remove_request(stranger)
    model.queue.remove_requests([stranger])


def test_nothing_is_remembered_of_requests_that_are_gone() -> None:
    model = Model(slots=1, seqs=2)
    for index in range(50):
        model.ask(f"x{index}-en-fr", max_tokens=3)
    for _ in range(400):
        model.step()
    assert len(model.finished) == 50
    bills, queue, lobby = model.desk.bills, model.queue, model.queue._lobby
    kept: list[Any] = [bills, bills.classes, queue._flows, queue._entries]
    kept += [lobby.flows, lobby.late, queue._popped]
    assert [len(each) for each in kept] == [0] * len(kept)


def test_a_hundred_to_one_arrivals_are_served_as_entitled() -> None:
    model = Model(slots=2, seqs=8)
    rng = random.Random(1)
    asked = {A: 0, B: 0, C: 0}
    for _ in range(1500):
        # Places give 8 tokens a step; A asks for ten times that, B and C for less than a share.
        for name, rate in ((A, 10.0), (B, 0.1), (C, 0.1)):
            for _ in range(int(rate + rng.random())):
                model.ask(name, max_tokens=8)
                asked[name] += 8
        model.step()
    fair = 8 * 1500 - asked[B] - asked[C]
    shares = [model.served[A] / fair, model.served[B] / asked[B], model.served[C] / asked[C]]
    assert jain(shares) >= 0.95
    assert min(shares) > 0.8


def test_a_random_life_never_stalls() -> None:
    churn(7, steps=1500)


@pytest.mark.slow
def test_a_long_random_life_never_stalls() -> None:
    churn(8, steps=100_000)


def churn(seed: int, *, steps: int) -> None:
    """Arrivals in bursts, hang-ups, preemptions, grammars and sleepers; then all must end."""
    rng = random.Random(seed)
    pinned = frozenset({"x0-en-fr"})
    model = Model(slots=3, seqs=6, pinned=pinned, terms={"x1-en-fr": Terms(4.0, -1)})
    open_requests: list[Request] = []
    for step in range(steps):
        busy = step // 200 % 2 == 0
        if rng.random() < (0.6 if busy else 0.15):
            name = f"x{min(int(rng.expovariate(0.25)), 19)}-en-fr" if rng.random() < 0.9 else ""
            options: dict[str, Any] = {"blocked": rng.random() < 0.1, "asleep": rng.random() < 0.03}
            length = rng.choice((1, 5, 30))
            request = model.ask(name, version=rng.choice((1, 1, 2)), max_tokens=length, **options)
            open_requests.append(request)
        open_requests = [r for r in open_requests if r.num_output_tokens < r.max_tokens]
        for request in rng.sample(open_requests, min(2, len(open_requests))):
            request.blocked = request.asleep = False
        if open_requests and rng.random() < 0.05:
            model.end(open_requests.pop(rng.randrange(len(open_requests))))
        if model.running and rng.random() < 0.05:
            model.preempt(model.running[-1])
        model.step()
    for request in open_requests:
        request.blocked = request.asleep = False
    for _ in range(50 * len(open_requests) + 10):
        if not len(model.queue) and not model.running:
            break
        model.step()
    assert (len(model.queue), model.running) == (0, [])
    assert len(model.finished) > steps // 8
