"""Whose turn it is between callers; test_fair_queue.py is of one, test_bulk.py of classes."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import Any

import pytest

from serving.fair_share import Terms
from serving.turn import BULK, Turn
from tests.serving.fair_rig import Model, Request, adapter, caller, flood, seats

A, B, C = "a-en-fr", "b-en-fr", "c-en-fr"
ONE, MANY, THIRD = Turn("one"), Turn("many"), Turn("third")
SLOW = Turn("slow", 1.0, BULK)
LONG = 10_000


@pytest.mark.parametrize(("slots", "answer"), [(12, 12), (3, 12), (3, 50)])
def test_a_key_with_ten_adapters_gets_no_more_than_one_with_one(slots: int, answer: int) -> None:
    wishes = [(ONE, A), *((MANY, f"x{number}-en-fr") for number in range(10))]
    tokens = flood(Model(slots=slots, seqs=4), wishes, seconds=answer * 4, answer=answer)
    assert tokens["one"] == pytest.approx(tokens["many"], rel=0.1)


def test_keys_share_by_their_weights() -> None:
    wishes = [(Turn("many", 3.0), A), (Turn("many", 3.0), B), (ONE, C)]
    tokens = flood(Model(slots=4, seqs=4), wishes, seconds=40)
    assert tokens["many"] / tokens["one"] == pytest.approx(3, rel=0.1)


def test_another_weight_counts_from_the_next_request_on() -> None:
    model = Model(seqs=1)
    model.ask(A, turn=Turn("many", 1.0), max_tokens=LONG)
    for _ in range(80):
        model.ask(A, turn=Turn("many", 3.0))
        model.ask(A, turn=ONE)
    turns = [caller(request) for request in seats(model, 41)[1:]]
    assert turns.count("many") == pytest.approx(30, abs=2)


def test_callers_take_turns_by_tokens_on_the_same_adapter() -> None:
    model = Model(seqs=1)
    for _ in range(40):
        model.ask(A, turn=MANY, prompt=100)
    for _ in range(80):
        model.ask(A, turn=ONE)
    turns = [caller(request) for request in seats(model, 70)]
    # Ended after one token each: 101 against 11 tokens.
    assert 7.5 <= turns.count("one") / turns.count("many") <= 11


def test_a_key_that_returns_from_idle_cashes_in_no_credit() -> None:
    model = Model(seqs=1)
    model.end(model.ask(A, turn=ONE))
    for _ in range(70):
        model.ask(A, turn=MANY)
    seats(model, 50)
    for _ in range(20):
        model.ask(A, turn=ONE)
    turns = [caller(request) for request in seats(model, 20)]
    assert turns.count("one") == pytest.approx(10, abs=1)


def test_a_key_that_asks_for_little_saves_up_no_credit() -> None:
    model = Model(seqs=2)
    # It is never gone, but has only one request at a time.
    trickle = model.ask(A, turn=ONE, max_tokens=LONG)
    for _ in range(70):
        model.ask(A, turn=MANY)
    model.step()
    for _ in range(50):
        model.end(next(request for request in model.running if request is not trickle))
        model.step()
    for _ in range(20):
        model.ask(A, turn=ONE)
    model.end(trickle)
    turns = [caller(request) for request in seats(model, 20)]
    assert turns.count("one") == pytest.approx(10, abs=1)


def test_a_newcomer_waits_for_nobodys_past() -> None:
    """The clock follows those who are served; it does not lag behind for those who ask little."""
    model = Model(seqs=2)
    trickle = model.ask(A, turn=ONE, max_tokens=LONG)
    for _ in range(120):
        model.ask(A, turn=MANY)
    model.step()
    for _ in range(80):
        model.end(next(request for request in model.running if request is not trickle))
        model.step()
    for _ in range(20):
        model.ask(A, turn=THIRD)
    model.end(trickle)
    turns = [caller(request) for request in seats(model, 20)]
    assert turns.count("third") == pytest.approx(10, abs=1)


def test_a_keys_adapters_share_its_turns_whatever_others_ask_of_one_of_them() -> None:
    model = Model(slots=2, seqs=1)
    for _ in range(60):
        for turn, name in ((ONE, A), (ONE, B), (MANY, A), (THIRD, A)):
            model.ask(name, turn=turn)
    own = Counter(adapter(request) for request in seats(model, 60) if caller(request) == "one")
    assert own[A] == pytest.approx(own[B], abs=1)
    assert own.total() == pytest.approx(20, abs=1)


def test_a_slot_is_not_emptied_for_a_caller_that_had_more_than_those_who_wait_there() -> None:
    model = Model(slots=1, seqs=2, wait_s=2.0)
    model.ask(A, turn=ONE, max_tokens=LONG)
    model.ask("", turn=MANY, prompt=500, max_tokens=LONG)
    model.step()
    waits = model.ask(A, turn=ONE)
    model.ask(B, turn=MANY)
    model.steps(30)
    assert not model.desk.slots.draining
    model.end(waits)
    model.step()
    assert model.desk.slots.draining


def test_small_requests_that_never_wait_keep_nobody_from_their_slot() -> None:
    model = Model(slots=1, seqs=6, wait_s=2.0)
    late = model.ask(B, turn=MANY, prompt=400)
    model.ask("", turn=MANY, prompt=400, max_tokens=LONG)
    small: list[Request] = [model.ask(A, turn=ONE, max_tokens=6)]
    model.ask("", turn=MANY, prompt=400, max_tokens=LONG)
    for step in range(60):
        if step % 3 == 0 and not model.desk.slots.draining:
            small.append(model.ask(A, turn=ONE, max_tokens=6))
        model.step()
    assert late.admitted is not None
    assert late.admitted <= 2.0 + 2.0 + 0.8


def test_requests_own_priority_goes_before_callers_and_classes_where_vllm_runs_by_it() -> None:
    model = Model(seqs=1, by_priority=True)
    for priority in (2, 0, 1):
        model.ask(A, turn=ONE, priority=priority)
    model.ask(A, turn=SLOW, priority=-1)
    model.ask(A, turn=MANY, priority=1)
    order = [(request.priority, caller(request)) for request in seats(model, 5)]
    assert order == [(-1, "slow"), (0, "one"), (1, "many"), (1, "one"), (2, "one")]


def test_callers_that_are_gone_are_forgotten() -> None:
    model = Model(slots=2, seqs=4)
    stays = model.ask(A, turn=THIRD, max_tokens=LONG)
    for number in range(400):
        model.ask(A, turn=Turn(f"k{number}", 1.0, number % 2), max_tokens=2)
        model.ask(A, turn=THIRD, max_tokens=2)
        model.step()
    model.steps(200)
    assert len(model.finished) == 800
    # Whoever left in debt stays until the clock is there.
    assert len(model.desk.bills.classes[0].parties) < 70
    model.end(stays)
    assert (len(model.desk.bills), model.desk.bills.classes) == (0, {})


@pytest.mark.parametrize(
    ("seed", "recorded"),
    [(1, "2ed8962e9b6a5577"), (2, "e18093daf65c6914"), (3, "ac0f153f2e6fc11b")],
)
def test_one_caller_is_served_in_the_order_of_before_there_were_keys(
    seed: int, recorded: str
) -> None:
    """Recorded with the queue as it was before (revision 2929c4b), fair between adapters only."""
    assert order_of_a_life(seed) == recorded


@pytest.mark.parametrize("seed", range(3))
def test_a_random_life_of_many_keys_never_stalls(seed: int) -> None:
    rng = random.Random(seed)
    pinned = frozenset({"x0-en-fr"}) if seed else frozenset()
    model = Model(slots=3, seqs=5, pinned=pinned, terms={"x1-en-fr": Terms(4.0, -1)})
    turns = [Turn(f"k{number}", rng.choice((0.5, 1.0, 7.0)), number % 2) for number in range(6)]
    live(model, rng, steps=400, options=lambda: {"turn": rng.choice(turns)})
    for _ in range(20_000):
        if not len(model.queue) and not model.running:
            break
        for request in model.queue:
            request.blocked = request.asleep = False
        model.step()
    assert (len(model.queue), model.running, len(model.desk.bills)) == (0, [], 0)
    assert not model.desk.bills.classes


def live(model: Any, rng: random.Random, *, steps: int, options: Any = dict) -> None:
    """Arrivals in bursts, hang-ups, preemptions, grammars and sleepers."""
    alive: list[Any] = []
    for step in range(steps):
        if rng.random() < (0.8 if step // 100 % 2 == 0 else 0.2):
            name = f"x{min(int(rng.expovariate(0.4)), 9)}-en-fr" if rng.random() < 0.9 else ""
            alive.append(
                model.ask(
                    name, version=rng.choice((1, 1, 2)), max_tokens=rng.choice((1, 5, 20)),
                    blocked=rng.random() < 0.1, asleep=rng.random() < 0.03, **options(),
                )
            )  # fmt: skip
        alive = [request for request in alive if request.num_output_tokens < request.max_tokens]
        for request in rng.sample(alive, min(2, len(alive))):
            request.blocked = request.asleep = False
        if alive and rng.random() < 0.05:
            model.end(alive.pop(rng.randrange(len(alive))))
        if model.running and rng.random() < 0.05:
            model.preempt(rng.choice(model.running))
        model.step()


def order_of_a_life(seed: int) -> str:
    """Return a hash of who ran in each step of a random life of one caller."""
    rng = random.Random(seed)
    pinned, terms = frozenset({"x0-en-fr"}), {"x1-en-fr": Terms(4.0, -1)}
    model = Model(slots=3, seqs=5, pinned=pinned, terms=terms)
    seen = hashlib.sha256()
    step = model.step

    def step_and_note() -> None:
        step()
        seen.update(" ".join(request.request_id for request in model.running).encode() + b"\n")

    model.step = step_and_note  # type: ignore[method-assign]
    live(model, rng, steps=500)
    return seen.hexdigest()[:16]
