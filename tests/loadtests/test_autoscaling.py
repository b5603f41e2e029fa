"""The autoscaler that components/hpa asks for, simulated: it follows the load, and it settles."""

from __future__ import annotations

import math

import pytest

from loadtests.autoscaling.cluster import PodKind
from loadtests.autoscaling.demand import Demand, Queued, Scrape, Seats
from loadtests.autoscaling.hpa import Autoscaler, Direction, Policy
from loadtests.autoscaling.scenarios import play, shipped, traces
from loadtests.autoscaling.traces import SYNTHETIC

# Their load rises no faster than pods start, so that nobody may have to wait.
SLOW = {"steady", "step down", "day", "noisy day"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_trace_is_followed_without_overshoot_or_flapping(name: str) -> None:
    kind = PodKind()
    outcome = play(traces()[name], kind)
    assert outcome.reversals() <= 1
    assert outcome.overshoot() <= 1
    if name in SLOW:
        assert outcome.kept() >= 0.999
    # After a jump to seven times the load: until what gathered meanwhile is worked off.
    assert outcome.late_for_s() <= kind.start_s + 300


@pytest.mark.slow
def test_scaling_by_seats_would_flap() -> None:
    assert play(traces()["steady"], PodKind(), Seats).reversals() >= 3


@pytest.mark.slow
def test_scaling_by_the_queue_would_overshoot() -> None:
    assert play(traces()["step up"], PodKind(), Queued).overshoot() >= 3


@pytest.mark.slow
def test_a_day_takes_fewer_pods_than_its_peak_all_day() -> None:
    outcome = play(traces()["day"], PodKind())
    assert outcome.pod_hours() < 0.75 * max(outcome.wanted) * len(outcome.wanted) / 3600


def demand(*scrapes: tuple[float, int, int]) -> float:
    rule = Demand()
    for i, (use, arrivals, ended) in enumerate(scrapes):
        rule.note(Scrape(15.0 * i, use, use, use, arrivals, ended))
    return rule.pods()


def test_demand_is_the_use_where_what_comes_also_ends() -> None:
    assert demand((0.5, 0, 0), (0.7, 10, 10)) == pytest.approx(0.6)


def test_demand_of_a_full_pod_is_what_comes_over_what_ends() -> None:
    assert demand((1, 0, 0), (1, 300, 100)) == pytest.approx(3)


def test_demand_where_nothing_ends_is_the_use() -> None:
    assert demand((1, 0, 0), (1, 30, 0)) == 1


def autoscaler(up: Direction | None = None, down: Direction | None = None) -> Autoscaler:
    free = Direction(0, (Policy("Pods", 100, 60),), widest=True)
    return Autoscaler(target=0.7, least=1, most=10, up=up or free, down=down or free)


@pytest.mark.parametrize(
    ("replicas", "total", "wanted"),
    [
        (2, 2.8, 4),
        (2, 2.81, 5),  # ceil
        (4, 1.4, 2),
        (4, 2.8, 4),
        (4, 3.0, 4),  # within a tenth of the target: nothing happens
        (4, 2.55, 4),
        (4, 3.1, 5),
        (3, 0.0, 1),
        (3, 99.0, 10),
    ],
)
def test_replicas_are_the_total_over_the_target(replicas: int, total: float, wanted: int) -> None:
    assert autoscaler().decide(0, replicas, total) == wanted


def test_down_waits_for_the_highest_wish_of_its_window() -> None:
    slow = Direction(300, (Policy("Pods", 100, 60),), widest=True)
    scaler = autoscaler(down=slow)
    assert scaler.decide(0, 5, 3.5) == 5
    assert scaler.decide(150, 5, 2.1) == 5
    assert scaler.decide(299, 5, 0.7) == 5
    assert scaler.decide(301, 5, 0.7) == 3
    assert scaler.decide(451, 3, 0.7) == 1


def test_policies_bound_how_far_a_period_goes() -> None:
    doubling = Direction(0, (Policy("Percent", 100, 60), Policy("Pods", 1, 60)), widest=True)
    scaler = autoscaler(up=doubling)
    assert scaler.decide(0, 1, 7) == 2
    assert scaler.decide(15, 2, 7) == 2
    assert scaler.decide(60, 2, 7) == 4
    narrow = Direction(0, doubling.policies, widest=False)
    assert autoscaler(up=narrow).decide(0, 4, 7) == 5


def test_the_shipped_autoscaler_is_read_from_its_manifest() -> None:
    scaler = shipped()
    assert (scaler.target, scaler.least, scaler.most) == (0.7, 1, 8)
    assert scaler.down.stabilization_s == 300
    assert math.isclose(scaler.up.policies[0].change(4), 4)
