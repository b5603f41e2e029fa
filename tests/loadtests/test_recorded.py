"""Ten minutes of a real pod, past what it can do: rule, autoscaler and model against it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from loadtests.autoscaling import recorded
from loadtests.autoscaling.cluster import PodKind, run
from loadtests.autoscaling.demand import WINDOW_S, Demand, Scrape
from loadtests.autoscaling.scenarios import shipped


def demands() -> dict[float, float]:
    rule, found = Demand(), {}
    for scrape in recorded.scrapes():
        rule.note(scrape)
        found[scrape.at_s] = rule.pods()
    return found


def offered(at_s: float) -> float:
    """Return the pods that the requests of the rule's window would fill, by the pod's capacity."""
    came = {row["at_s"]: row["arrivals"] for row in recorded.rows()}
    requests = float(came[at_s] - came[at_s - WINDOW_S])
    return requests / WINDOW_S / PodKind().requests_per_s


@pytest.mark.parametrize("at_s", [180.0, 240.0, 300.0, 480.0])
def test_the_rule_tells_what_came_below_and_beyond_the_capacity(at_s: float) -> None:
    assert demands()[at_s] == pytest.approx(offered(at_s), abs=0.2)


def test_the_autoscaler_wants_a_second_pod_and_lets_it_go_once() -> None:
    scaler = replace(shipped(), least=1)
    wanted, sizes = 1, []
    for at_s, pods in demands().items():
        if at_s >= WINDOW_S:
            wanted = scaler.decide(at_s, wanted, pods)
            sizes.append(wanted)
    assert max(sizes) == 2
    assert sizes[0] == 1
    turns = [b - a for a, b in pairwise(sizes) if a != b]
    assert sum(a * b < 0 for a, b in pairwise(turns)) <= 1


def test_the_simulated_pod_is_as_busy_as_the_real_one() -> None:
    alone = replace(shipped(), least=1, most=1)
    seen: list[float] = []

    class Watching(Demand):
        def note(self, scrape: Scrape) -> None:
            super().note(scrape)
            seen.append(scrape.use)

    run(recorded.arrivals(), PodKind(), alone, replicas=1, signal=Watching)
    real = [scrape.use for scrape in recorded.scrapes()]
    differences = [abs(a - b) for a, b in zip(seen, real, strict=False)]
    assert sum(differences) / len(differences) < 0.15
