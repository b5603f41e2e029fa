"""What is asked is decided beforehand: times, adapters, texts, the same for a seed."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import DataInvalid, ScenarioInvalid
from loadtests.load.arrivals import Bursts, Even, Poisson, Ramp, Replay
from loadtests.load.plan import plan
from loadtests.load.popularity import Popularity
from loadtests.load.scenario import Scenario, names
from loadtests.load.texts import Texts, text_of

NAMES = [f"a{n}" for n in range(10)]


def scenario(**changes: Any) -> Scenario:
    body = {"name": "s", "seconds": 100.0, "arrivals": {"kind": "poisson", "per_s": 20.0}}
    return Scenario.model_validate({**body, **changes})


def test_a_poisson_process_has_its_rate_and_exponential_gaps() -> None:
    times = Poisson(kind="poisson", per_s=20).times(500, random.Random(1))
    gaps = [b - a for a, b in pairwise(times)]
    assert len(times) == pytest.approx(10_000, rel=0.03)
    assert sum(gap > 0.05 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)


def test_bursts_are_as_high_and_as_long_as_they_say() -> None:
    kind = Bursts(kind="bursts", per_s=2, burst_per_s=50, every_s=10, for_s=2)
    times = kind.times(200, random.Random(1))
    high = [t for t in times if t % 10 >= 8]
    assert len(high) == pytest.approx(20 * 2 * 50, rel=0.05)
    assert len(times) - len(high) == pytest.approx(20 * 8 * 2, rel=0.15)


def test_a_ramp_rises_evenly() -> None:
    times = Ramp(kind="ramp", from_per_s=0, to_per_s=20).times(200, random.Random(1))
    assert sum(t < 100 for t in times) == pytest.approx(500, rel=0.1)
    assert sum(t >= 100 for t in times) == pytest.approx(1500, rel=0.1)


def test_even_arrivals_are_even() -> None:
    assert Even(kind="even", per_s=4).times(1, random.Random()) == [0, 0.25, 0.5, 0.75]


def test_a_recording_is_replayed_at_its_speed(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"at_s": 4}\n{"at_s": 1, "more": 2}\n{"at_s": 400}\n')
    kind = Replay(kind="replay", file=str(file), speed=2.0)
    assert kind.times(100, random.Random()) == [0.5, 2.0]


@pytest.mark.parametrize("line", ["{}", "no json", '{"at_s": -1}', '{"at_s": "x"}', "[]"])
def test_a_bad_line_of_a_recording_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"at_s": 1}\n' + line + "\n")
    with pytest.raises(DataInvalid, match=r"trace\.jsonl:2"):
        Replay(kind="replay", file=str(file)).times(9, random.Random())


def test_popularity_follows_zipfs_law() -> None:
    times = [float(n) for n in range(20_000)]
    counts = Counter(Popularity(exponent=1.0).chosen(times, NAMES, random.Random(1)))
    for rank in (2, 5, 10):
        assert counts["a0"] / counts[NAMES[rank - 1]] == pytest.approx(rank, rel=0.15)


def test_fashions_change() -> None:
    times = [float(n) for n in range(20_000)]
    kind = Popularity(exponent=1.5, drift_every_s=500)
    asked = list(kind.chosen(times, NAMES, random.Random(1)))
    first = Counter(asked[:500]).most_common(1)
    favourites = {Counter(asked[i : i + 500]).most_common(1)[0][0] for i in range(0, 20_000, 500)}
    assert first[0][0] == "a0"
    assert len(favourites) > 2


def test_cold_adapters_are_asked_once_each_over_the_run() -> None:
    requests = plan(scenario(popularity={"cold": 4}), NAMES)
    cold = [one for one in requests if one.warmth == "cold"]
    assert sorted(one.model for one in cold) == NAMES[-4:]
    assert [one.at_s for one in cold] == pytest.approx([13, 39, 66, 92], abs=3)
    assert not any(one.probe is not None for one in cold), "asking beforehand would warm it"
    assert sum(one.model in NAMES[-4:] for one in requests) == 4


def test_warmth_is_told_from_the_order_of_requests() -> None:
    server = {"slots": 3, "adapters": 10}
    requests = plan(scenario(popularity={"exponent": 0.0}, server=server), NAMES)
    later = requests[200:]
    warm = sum(one.warmth == "warm" for one in later) / len(later)
    assert warm == pytest.approx(0.3, abs=0.05), "three of ten were asked last"


def test_the_warm_up_does_not_count() -> None:
    requests = plan(scenario(warm_s=10.0), NAMES)
    assert all(one.counted == (one.at_s >= 10) for one in requests)
    assert 100 < requests[-1].at_s < 110


def test_the_same_seed_asks_the_same() -> None:
    assert plan(scenario(), NAMES) == plan(scenario(), NAMES)
    assert plan(scenario(), NAMES) != plan(scenario(seed=1), NAMES)


def test_segments_are_as_long_as_real_ones() -> None:
    chance = random.Random(1)
    lengths = sorted(len(Texts().drawn(n, chance)[1]) for n in range(4000))
    assert lengths[2000] == pytest.approx(96, rel=0.1)
    assert lengths[3600] == pytest.approx(310, rel=0.15)
    documents = [Texts(documents=1.0).drawn(n, chance)[1] for n in range(200)]
    assert 800 < sorted(map(len, documents))[100] < 1400


def test_no_two_texts_are_alike_from_their_first_word() -> None:
    chance = random.Random(1)
    assert len({text_of(n, 50, chance).split()[0] for n in range(100)}) == 100


def test_too_few_adapters_are_told() -> None:
    with pytest.raises(ScenarioInvalid, match="at least 5, found 3"):
        plan(scenario(popularity={"cold": 4}), NAMES[:3])


def test_a_rate_at_which_nobody_comes_is_told() -> None:
    with pytest.raises(ScenarioInvalid, match="raise per_s"):
        plan(scenario(arrivals={"kind": "even", "per_s": 0.001}), NAMES)


@pytest.mark.parametrize("name", names())
def test_a_shipped_scenario_can_be_read_and_planned(name: str) -> None:
    shipped = Scenario.load(name)
    assert shipped.name == name
    adapters = [f"a{n}" for n in range(shipped.server.adapters)]
    assert len(plan(shipped, adapters)) > 50


def test_all_faults_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nseconds: -1\narrivals: {kind: poison, per_s: 3}\nsloo: {}\n"
        "events: [{kind: swap, at_s: 1, evry_s: 2}]\n"
    )
    with pytest.raises(ScenarioInvalid) as caught:
        Scenario.load(str(file))
    message = str(caught.value)
    for expected in ("mine.yaml:2", "mine.yaml:3", "poisson", "mine.yaml:4", "slo", "mine.yaml:5"):
        assert expected in message


def test_an_event_after_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="never happen"):
        scenario(events=[{"kind": "kill_engine", "at_s": 100.0}])


def test_an_unknown_scenario_names_those_that_there_are() -> None:
    with pytest.raises(ScenarioInvalid, match="steady"):
        Scenario.load("stead")


def test_overrides_are_read_as_yaml() -> None:
    found = Scenario.load("steady", ["seconds=7", "arrivals={kind: even, per_s: 2}"])
    assert found.seconds == 7
    assert json.loads(found.model_dump_json())["arrivals"] == {"kind": "even", "per_s": 2.0}
