"""Every load scenario, cut short, against a real server of ours on the embedded base."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests import bad_inputs, vllm_bench
from loadtests.load import target
from loadtests.load.client import Asking
from loadtests.load.kind import Kind
from loadtests.load.probes import References
from loadtests.load.report import report
from loadtests.load.run import learn, run
from loadtests.load.scenario import Scenario, names
from loadtests.load.target import Target
from tests.integration.harness import SEATS, SLOTS, WORDS, RunningServer, dragoman

pytestmark = pytest.mark.engine

# Six seconds are too short for budgets of latency: what is held here is that answers are right,
# that none is lost, and that the server does what the scenario is there for.
SHORT = ("seconds=5", "warm_s=1", "budgets={}", "watch=none", "texts={max_chars: 80}")
SHORTER = {
    "burst": "arrivals={kind: bursts, per_s: 1.5, burst_per_s: 9, every_s: 4, for_s: 1.5}",
    "engine-killed": "events=[{kind: kill_engine, at_s: 1}]",
    "hot-swap": "events=[{kind: swap, at_s: 1, every_s: 1}]",
    "slow-disk": "events=[{kind: slow_disk, at_s: 1, for_s: 4}]",
    "soak": "events=[{kind: swap, at_s: 1, every_s: 2}]",
    "store-gone": "events=[{kind: hide_store, at_s: 1, for_s: 3}]",
}
# The engine's death comes last of all: the server needs half a minute of both cores to be back.
ORDER = sorted(names(), key=lambda name: (name == "engine-killed", name))


@pytest.fixture(scope="module")
def ours(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    size = f"server={{adapters: 8, slots: {SLOTS}, memory: 7, seats: {SEATS}}}"
    scenario = Scenario.load("hot-swap", [size])
    with target.started(Kind.DRAGOMAN, scenario, tmp_path_factory.mktemp("load")) as there:
        yield there


@pytest.fixture(scope="module")
def references(ours: Target) -> References:
    """What every version says alone, asked once for all scenarios."""
    return asyncio.run(learn(Scenario.load("hot-swap"), ours, ours.models, Asking()))


def short(name: str) -> Scenario:
    more = [SHORTER[name]] if name in SHORTER else []
    scenario = Scenario.load(name, [*SHORT, *more])
    cold = min(scenario.popularity.cold, 3)
    popularity = scenario.popularity.model_copy(update={"cold": cold})
    return scenario.model_copy(update={"popularity": popularity})


def expected(name: str, requests: dict[str, int]) -> bool:
    """Return whether the scenario did what it is there for."""
    if name == "engine-killed":
        return requests["failed"] + requests["shed"] + requests["unreached"] > 0
    if name == "disconnects":
        return requests["left"] > 0
    # Eight adapters share seven places in memory; who has none needs a store that is there.
    shed = requests["shed"] if name in ("overload", "store-gone") else 0
    return requests["ok"] + requests["left"] + shed == requests["sent"] > 3


def test_broken_requests_are_never_the_servers_fault(server: RunningServer) -> None:
    models = target.listed(server.url, {})
    found = asyncio.run(bad_inputs.tried(server.url, models, 1000))
    assert found.statuses.total() == 1000
    assert all(status[0] in "24" for status in found.statuses), found
    assert server.ask("alpha-en-fr") == "alpha"


@pytest.mark.parametrize("model", ["alpha-en-fr", "gemma3-270m"])
@pytest.mark.parametrize("key", ["stop", "user", "unheard_of"])
def test_half_a_character_is_the_clients_fault(server: RunningServer, model: str, key: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Help"}], key: "\ud800"}
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        content=json.dumps(body),  # which escapes it; httpx's own JSON could not be sent
        headers={"content-type": "application/json"},
        timeout=30,
    )
    assert answer.status_code == 422
    assert "lone surrogate" in answer.json()["error"]["message"]


def test_the_command_loads_any_url_and_writes_a_page(server: RunningServer, tmp_path: Path) -> None:
    done = dragoman(
        "bench", "steady", "--url", server.url, "--out", tmp_path, "--json",
        *(part for change in (*SHORT, "checks.prompts=1") for part in ("--set", change)),
        # Other tests have broken some of this server's adapters.
        *(part for name in WORDS for part in ("--model", name)),
        check=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["verdict"] == "passed" else 1)
    assert found["checks"]["wrong"] == found["requests"]["lost"] == 0
    assert found["target"]["models"] == 3
    assert found == json.loads((tmp_path / "steady.json").read_text())
    assert (tmp_path / "steady.html").read_text().startswith("<!doctype html>")


def test_vllms_own_bench_loads_our_adapters(server: RunningServer) -> None:
    """How near the two are to each other is measured by `python -m loadtests.vllm_bench`."""
    there = target.running(server.url, [*WORDS], {}, Scenario.load("steady"))
    assert vllm_bench.vllm_bench(there, "gemma3-270m", 6, seed=0) > 0
    assert vllm_bench.open_loop(there, 6, seed=0) > 0


@pytest.mark.parametrize("name", ORDER)
def test_a_scenario_finds_nothing_wrong(name: str, ours: Target, references: References) -> None:
    scenario = short(name)
    found = report(asyncio.run(run(scenario, ours, references)), "a test")
    # The generator shares two cores with the server: it may be late in so short a run.
    assert [f for f in found["faults"] if not f.startswith("void")] == []
    assert expected(name, found["requests"]), found["requests"]
    assert found["requests"]["lost"] == 0
    done = [event["kind"] for event in found["events"]]
    assert len(done) >= len(scenario.events)
    assert found["checks"]["told_apart"] >= 0.999
