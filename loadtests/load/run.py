"""One load test: what is asked beforehand, the load, and what is looked at afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from adapters.console import note, progress
from loadtests.load import generator, probes
from loadtests.load.actions import Actions
from loadtests.load.client import Asking
from loadtests.load.generator import Beside
from loadtests.load.plan import plan
from loadtests.load.probes import Judgement, References
from loadtests.load.scenario import Scenario
from loadtests.load.served import Served
from loadtests.load.target import Target
from loadtests.load.watch import Holding, Watch

# After the last answer; a client that left is noticed within a second or two.
_REST_S: Final = 15.0
_BUSY: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")


@dataclass(frozen=True)
class Run:
    """All that was seen."""

    scenario: Scenario
    target: Target
    began: datetime
    served: Sequence[Served]
    references: References | None
    judgement: Judgement
    events: Sequence[dict[str, Any]]
    held: Sequence[Holding]
    left_running: int | None  # requests in the engine when nobody asks any more


async def run(scenario: Scenario, target: Target, references: References | None = None) -> Run:
    """Load the target; references that an earlier run learnt of it need not be asked again.

    Raises ScenarioInvalid, LoadTestFailed.
    """
    requests = plan(scenario, target.models)
    asking = Asking(
        exactly=scenario.texts.answer_ends == "exactly",
        headers=target.headers,
        fields=target.fields,
    )
    # Nobody else is asked, or cold adapters would be warm.
    probed = {one.model for one in requests if one.probe is not None}
    if probed and references is None:
        references = await learn(scenario, target, probed, asking)
    if references:
        asking = replace(asking, probes=references.texts)
    actions, watch = Actions(scenario, target), Watch(target, scenario.seconds)
    began = datetime.now(UTC)
    with progress(scenario.name, total=round(requests[-1].at_s)) as advance:
        beside = (actions.run, watch.run, _ticks(advance))
        served = await generator.run(
            target.url, requests, asking, settle_s=scenario.settle_s, beside=beside
        )
    left = await asyncio.to_thread(_left_running, target)
    judgement = probes.judge(served, references) if references else Judgement()
    return Run(
        scenario, target, began, served, references, judgement, actions.done, watch.seen, left
    )


async def learn(
    scenario: Scenario, target: Target, models: Collection[str], asking: Asking
) -> References:
    """Return what each version of `models` answers alone. Raises LoadTestFailed."""
    versions = {name: model for name, model in target.versions.items() if model in models}
    note(f"{len(versions)} versions are asked alone first")
    found = await probes.settle(target.url, versions, scenario.checks.prompts, asking)
    note(f"tolerance {found.tolerance:.3f}, told apart {found.told_apart():.1%}")
    return found


def _ticks(advance: Callable[[int], None]) -> Beside:
    """Return what shows the seconds of the load."""

    async def tick(_: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(1)
            advance(1)

    return tick


def _left_running(target: Target) -> int | None:
    """Return how many requests the engine still has after a rest; None if it does not tell."""
    until = time.monotonic() + _REST_S
    busy = None
    while time.monotonic() < until:
        busy = _busy(target)
        if busy is None or busy == 0:
            break
        time.sleep(0.5)
    return busy


def _busy(target: Target) -> int | None:
    try:
        text = httpx.get(f"{target.url}/metrics", headers=dict(target.headers), timeout=10).text
    except httpx.HTTPError:
        return None
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(_BUSY)]
    return int(sum(map(float, values))) if values else None
