from __future__ import annotations

import random

import pytest

from serving.step_times import StepTimes

FULL = 32


def learnt(alone_s: float, more_s: float, batches: list[int], *, noise: float = 0.0) -> StepTimes:
    chance, times = random.Random(0), StepTimes()
    for running in batches:
        factor = 1 + chance.uniform(-noise, noise)
        times.note(running, (alone_s + more_s * running) * factor)
    return times


def throughput_share(running: int, alone_s: float, more_s: float) -> float:
    return (running / (alone_s + more_s * running)) / (FULL / (alone_s + more_s * FULL))


MIXED = [1 + i % 12 for i in range(2000)]


@pytest.mark.parametrize("running", [1, 4, 16, 32])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_share_is_of_throughput_though_a_full_batch_was_never_seen(
    running: int, noise: float
) -> None:
    times = learnt(0.0174, 0.00116, MIXED, noise=noise)
    expected = throughput_share(running, 0.0174, 0.00116)
    assert times.share(running, FULL) == pytest.approx(expected, abs=0.001 if not noise else 0.06)


def test_where_time_does_not_grow_the_share_is_of_seats() -> None:
    assert learnt(0.02, 0.0, MIXED).share(8, FULL) == pytest.approx(0.25)


def test_before_it_has_learnt_the_share_is_of_seats() -> None:
    assert StepTimes().share(8, FULL) == 0.25
    assert learnt(0.0174, 0.00116, [4] * 5000).share(8, FULL) == 0.25


def test_what_was_learnt_outlives_a_time_of_steps_that_are_all_alike() -> None:
    times = learnt(0.0174, 0.00116, MIXED)
    before = times.share(8, FULL)
    for _ in range(50_000):
        times.note(4, 0.0174 + 4 * 0.00116)
    assert times.share(8, FULL) == pytest.approx(before, rel=0.01)


def test_a_pause_of_the_machine_is_no_step() -> None:
    times = learnt(0.0174, 0.00116, MIXED)
    before = times.share(8, FULL)
    times.note(12, 600.0)
    assert times.share(8, FULL) == before


def test_an_idle_engine_gives_nothing_and_none_gives_more_than_all() -> None:
    times = learnt(0.0174, 0.00116, MIXED)
    assert times.share(0, FULL) == 0
    assert times.share(64, FULL) == 1
