"""Whose turn it is between classes: interactive before bulk, and bulk within a bounded time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from serving.turn import BULK, Turn
from tests.serving.fair_rig import Model, caller, flood

A, B, C, D = "a-en-fr", "b-en-fr", "c-en-fr", "d-en-fr"
ONE, THIRD = Turn("one"), Turn("third")
SLOW, OTHER = Turn("slow", 1.0, BULK), Turn("other", 1.0, BULK)
LONG = 10_000


def test_interactive_overtakes_a_backlog_of_bulk_at_the_next_free_place() -> None:
    model = Model(slots=8, seqs=2, step_s=0.1, wait_s=2.0)
    for number in range(60):
        # Many keys and adapters, all of which wait for much longer than the bounded wait.
        model.ask(f"x{number % 6}-en-fr", turn=Turn(f"k{number % 5}", 1.0, BULK), max_tokens=5)
    model.steps(52)
    urgent = [model.ask(name, turn=ONE, max_tokens=5) for name in (A, "x1-en-fr", "", B)]
    places = [model.running[:]]
    for _ in range(10):
        model.step()
        places.append(model.running[:])
    begun = [r for before, after in pairwise(places) for r in after
             if r not in before]  # fmt: skip
    assert begun[:4] == [request for request in begun if request in urgent]


@pytest.mark.parametrize(("interactive", "bulk"), [(A, "x"), (A, A), ("", "x"), ("", "")])
def test_bulk_has_its_turn_after_the_bounded_wait_and_no_more_than_that(
    interactive: str, bulk: str
) -> None:
    model = Model(slots=8, seqs=2, step_s=0.1, wait_s=2.0)
    names = [f"x{number % 4}-en-fr" if bulk == "x" else bulk for number in range(40)]
    asked = [
        model.ask(name, turn=Turn(f"k{number % 5}", 1.0, BULK), max_tokens=2)
        for number, name in enumerate(names)
    ]
    flood(model, [(ONE, interactive)], seconds=20, answer=2)
    begun = sorted((r.admitted, caller(r)) for r in asked if r.admitted is not None)
    gaps = [later[0] - sooner[0] for sooner, later in pairwise(begun)]
    # A place comes free at least every third step.
    assert len(begun) >= 8
    assert all(2.0 <= gap <= 2.0 + 0.4 for gap in gaps)
    assert {name for _, name in begun} == {f"k{number}" for number in range(5)}


def test_bulk_takes_no_slot_and_drains_none_while_interactive_waits_for_one() -> None:
    model = Model(slots=1, seqs=8, wait_s=2.0)
    running = model.ask(A, turn=ONE, max_tokens=LONG)
    model.step()
    early = model.ask(C, turn=SLOW)
    model.steps(5)
    late = model.ask(B, turn=ONE, max_tokens=LONG)
    model.end(running)
    model.step()
    assert (late.running, early.running) == (True, False)


def test_a_turn_that_bulk_is_due_is_no_slot_that_interactive_waits_for() -> None:
    model = Model(slots=1, seqs=4, step_s=0.1, wait_s=2.0)
    # Bulk has the slot, so the others of its class have but a place to wait for.
    model.ask(A, turn=SLOW, max_tokens=40)
    other = model.ask(B, turn=OTHER)
    flood(model, [(ONE, "")], seconds=3.0)
    urgent = model.ask(C, turn=ONE)
    flood(model, [(ONE, "")], seconds=8.0)
    assert urgent.admitted is not None
    assert other.admitted is None or other.admitted > urgent.admitted


def test_bulk_alone_in_a_slot_makes_room_at_once() -> None:
    model = Model(slots=1, seqs=8, wait_s=2.0)
    for number in range(80):
        model.ask(A, turn=SLOW, max_tokens=3 + number % 5)
    model.steps(7)
    late = model.ask(B, turn=ONE)
    model.steps(9)
    # One drain: seven tokens at most, at 0.1 s, and no wait before it.
    assert late.admitted is not None
    assert late.admitted - late.arrival_time <= 0.8


@pytest.mark.parametrize("other", [{"max_tokens": LONG}, {"blocked": True}])
def test_a_slot_that_interactive_uses_too_is_not_emptied_for_another(other: Any) -> None:
    """It runs there, or waits there for its turn."""
    model = Model(slots=1, seqs=8, wait_s=2.0)
    model.ask(A, turn=SLOW, max_tokens=LONG)
    model.step()
    model.ask(A, turn=THIRD, **other)
    model.ask(A, turn=SLOW, blocked=True)
    model.steps(30)
    model.ask(B, turn=ONE)
    model.steps(15)
    assert not model.desk.slots.draining


def test_bulk_without_a_slot_has_its_turn_while_interactive_adapters_rotate() -> None:
    model = Model(slots=2, seqs=4, step_s=0.1, wait_s=2.0)
    bulk = [model.ask(f"x{number}-en-fr", turn=SLOW, max_tokens=5) for number in range(3)]
    flood(model, [(ONE, name) for name in (A, B, C, D)], seconds=25, answer=5)
    times = sorted(request.admitted for request in bulk if request.admitted is not None)
    gaps = [later - sooner for sooner, later in zip([0.0, *times], times, strict=False)]
    # In turn: each waits for the bounded wait, a quantum and two drains at most.
    assert len(times) == 3
    assert all(2.0 <= gap <= 2.0 + 2.0 + 1.6 for gap in gaps)


def test_bulk_without_a_slot_has_its_turn_though_one_interactive_adapter_keeps_the_only_one() -> (
    None
):
    model = Model(slots=1, seqs=6, step_s=0.1, wait_s=2.0)
    bulk = [model.ask(B, turn=SLOW, max_tokens=5) for _ in range(3)]
    flood(model, [(ONE, A)], seconds=15, answer=12)
    times = [request.admitted for request in bulk if request.admitted is not None]
    # The bounded wait, and one drain: 18 tokens at most, at 0.1 s.
    assert times
    assert 2.0 <= times[0] <= 2.0 + 1.8 + 0.3
    assert model.served[A] >= 0.5 * 150 * model.seqs


def test_bulk_that_has_a_slot_takes_no_other_one_before_interactive() -> None:
    model = Model(slots=2, seqs=8, wait_s=1.0)
    model.ask(A, turn=SLOW, max_tokens=LONG)
    ends = model.ask(B, turn=ONE, max_tokens=LONG)
    model.step()
    more = model.ask(C, turn=OTHER)
    model.steps(30)
    urgent = model.ask(D, turn=ONE, max_tokens=LONG)
    model.step()
    model.end(ends)
    model.step()
    assert (urgent.running, more.running) == (True, False)


def test_bulk_that_has_slots_of_its_own_drains_none_of_interactives() -> None:
    model = Model(slots=2, seqs=8, step_s=0.1, wait_s=1.0)
    model.ask(A, turn=ONE, max_tokens=LONG)
    for number in range(60):
        model.ask(f"x{number % 3}-en-fr", turn=SLOW, max_tokens=30 + number % 7)
    kept = 0
    for _ in range(150):
        model.step()
        drained = [model.desk.slots.held[key].account.adapter for key in model.desk.slots.draining]
        assert A not in drained
        kept += bool(drained)
    assert kept


def test_many_adapters_of_bulk_do_not_crowd_interactive_out_of_its_slots() -> None:
    model = Model(slots=2, seqs=4, step_s=0.1, wait_s=2.0)
    for number in range(30):
        for _ in range(2):
            model.ask(f"x{number}-en-fr", turn=Turn(f"k{number}", 1.0, BULK), max_tokens=5)
    flood(model, [(ONE, A), (ONE, B)], seconds=20, answer=5)
    assert model.served[A] + model.served[B] >= 0.7 * 200 * model.seqs


def test_what_was_preempted_goes_on_before_better_classes() -> None:
    model = Model(seqs=1)
    first = model.ask(A, turn=SLOW, max_tokens=LONG)
    model.step()
    model.ask(A, turn=ONE)
    model.preempt(first)
    model.step()
    assert first.running
