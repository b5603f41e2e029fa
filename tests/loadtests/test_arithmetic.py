from __future__ import annotations

import pytest

from loadtests.distribution import Rounds, paired_ratio, percentile, summary_ms
from loadtests.fair_shares import jain, jain_of_entitled, water_filling


def test_percentile_is_a_measured_value_of_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 1) == 7


def test_one_outlier_of_twenty_is_above_p95() -> None:
    assert percentile([1.0] * 19 + [9.0], 95) == 1
    assert percentile([1.0] * 18 + [9.0, 9.0], 95) == 9


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


def test_times_are_summed_up_in_milliseconds() -> None:
    assert summary_ms([0.001, 0.002, 0.004], 50, 99) == {"p50": 2.0, "p99": 4.0, "n": 3}


def test_paired_ratio_ignores_a_drift_that_both_share() -> None:
    assert paired_ratio([50.0, 100.0, 200.0], [100.0, 200.0, 400.0]) == 0.5
    assert Rounds((90.0, 100.0, 110.0)).spread == pytest.approx(0.1)


def test_water_filling_gives_the_modest_their_demand_and_shares_the_rest() -> None:
    shares = water_filling({"a": 100.0, "b": 10.0, "c": 60.0}, 90.0)
    assert shares == {"a": 40.0, "b": 10.0, "c": 40.0}


def test_water_filling_never_gives_more_than_is_asked_for() -> None:
    assert water_filling({"a": 5.0, "b": 6.0}, 100.0) == {"a": 5.0, "b": 6.0}


def test_water_filling_shares_by_weight() -> None:
    weights = {"a": 3.0, "b": 1.0, "c": 1.0}
    shares = water_filling({"a": 100.0, "b": 100.0, "c": 2.0}, 42.0, weights)
    assert shares == {"a": 30.0, "b": 10.0, "c": 2.0}


def test_jain_is_one_for_equals_and_one_nth_for_a_monopoly() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_jain_of_a_hundred_to_one_mix_tells_first_come_first_served_from_fair() -> None:
    demands = {"heavy": 3000.0, "light": 30.0}
    fair = {"heavy": 970.0, "light": 30.0}
    in_order = {"heavy": 990.0, "light": 10.0}
    assert jain_of_entitled(fair, demands) == pytest.approx(1.0)
    assert jain_of_entitled(in_order, demands) < 0.85


def test_jain_counts_a_tenant_that_got_nothing() -> None:
    assert jain_of_entitled({"heavy": 1000.0}, {"heavy": 3000.0, "light": 30.0}) == pytest.approx(
        0.5
    )
