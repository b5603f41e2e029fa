"""A run as JSON: figures, what was checked, and enough to draw it and to repeat it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from loadtests.distribution import percentile
from loadtests.load.budgets import broken
from loadtests.load.environment import environment
from loadtests.load.figures import LAG_LIMIT_MS, figures
from loadtests.load.run import Run
from loadtests.load.served import Ending, Served
from loadtests.load.watch import growth

SCHEMA: Final = 1
LEAK_PERCENT: Final = 1.0
# Of a thousand pairs of adapters one may be near each other on some probe.
APART: Final = 0.999
_BUCKETS: Final = 60
_SAMPLES: Final = 10


def report(run: Run, command: str) -> dict[str, Any]:
    """Return the report; `verdict` is passed, failed, or void where the generator was too late.

    Raises ScenarioInvalid for a budget of a figure that there is not.
    """
    found: dict[str, Any] = {
        **figures(run.served, run.scenario),
        "checks": _checks(run),
        "held": growth(run.held),
    }
    faults = _faults(run, found)
    void = found["lag_ms"]["p99"] > LAG_LIMIT_MS
    return {
        "schema": SCHEMA,
        "scenario": run.scenario.model_dump(mode="json"),
        "command": command,
        "began": run.began.isoformat(timespec="seconds"),
        "environment": environment(),
        "target": {
            "url": run.target.url,
            "kind": run.target.kind or "running",
            "models": len(run.target.models),
        },
        "verdict": "void" if void else "failed" if faults else "passed",
        "faults": faults,
        **found,
        "events": list(run.events),
        "timeline": timeline(run.served, run.scenario.warm_s + run.scenario.seconds),
        "curves": _curves(run.served),
        "holdings": [asdict(one) for one in run.held],
    }


def _checks(run: Run) -> dict[str, Any]:
    said = run.judgement
    found: dict[str, Any] = {
        "probes": said.probes,
        "wrong": said.wrong,
        "unknown": said.unknown,
        "left_running": run.left_running,
    }
    if run.references:
        found |= {
            "told_apart": round(run.references.told_apart(), 4),
            "tolerance": round(run.references.tolerance, 3),
            "worst_drift": round(said.worst_drift, 3),
        }
    return found


def _faults(run: Run, found: dict[str, Any]) -> list[str]:
    """Return what is wrong, worst first, in words."""
    lag = found["lag_ms"]["p99"]
    faults = []
    if lag > LAG_LIMIT_MS:
        faults.append(
            f"void: requests were sent {lag} ms late (p99), at most {LAG_LIMIT_MS:g} ms is "
            "allowed; give the generator a core of its own, or a lower rate"
        )
    faults += [f"wrong answer: {sample}" for sample in run.judgement.samples]
    if run.references and (apart := run.references.told_apart()) < APART:
        faults.append(
            f"blind: only {apart:.1%} of adapters can be told apart by their answers: either "
            "they are alike, or they cannot be told apart since one was answered by another"
        )
    faults += _lost(run.served)
    if run.left_running:
        faults.append(f"{run.left_running} requests still run with nobody waiting for them")
    if run.scenario.watch == "leaks":
        faults += [
            f"leak: {what} grew by {one['growth_percent']} %, from {one['first']} to {one['last']}"
            for what, one in found["held"].items()
            if one["growth_percent"] > LEAK_PERCENT
        ]
    budgets = broken(run.scenario.budgets, found)
    return faults + [f"budget: {name} is {what}" for name, what in budgets.items()]


def _lost(served: Sequence[Served]) -> list[str]:
    lost = [one for one in served if one.ending is Ending.LOST]
    told = [
        f"lost: {one.planned.model} at {one.planned.at_s:.1f} s: {one.detail}"
        for one in lost[:_SAMPLES]
    ]
    return told + ([f"lost: {len(lost)} in all"] if len(lost) > _SAMPLES else [])


def timeline(served: Sequence[Served], seconds: float) -> list[dict[str, Any]]:
    """Return what was sent, ended and waited for, by equal parts of the time, by intended start."""
    length = max(1.0, seconds / _BUCKETS)
    buckets: dict[int, list[Served]] = defaultdict(list)
    tokens: dict[int, float] = defaultdict(float)
    for one in served:
        buckets[int(one.planned.at_s // length)].append(one)
        for at_s in one.arrived_s:
            tokens[int(at_s // length)] += one.tokens / len(one.arrived_s)
    return [
        {
            "at_s": round(number * length, 1),
            "sent_per_s": round(len(some) / length, 2),
            "tokens_per_s": round(tokens[number] / length, 1),
            "not_ok_per_s": round(
                sum(one.ending not in (Ending.OK, Ending.LEFT) for one in some) / length, 2
            ),
            **_waits(some),
        }
        for number in range(int(seconds // length) + 1)
        for some in [buckets[number]]
    ]


def _waits(some: Sequence[Served]) -> dict[str, float]:
    waits = [one.ttft_s * 1000 for one in some if one.arrived_s]
    return {f"ttft_p{p}_ms": round(percentile(waits, p), 1) for p in (50, 95)} if waits else {}


def _curves(served: Sequence[Served]) -> dict[str, list[float]]:
    """Return each percentile of the time to first token in ms, by how warm the adapter was."""
    groups: dict[str, list[float]] = defaultdict(list)
    for one in served:
        if one.planned.counted and one.ending is Ending.OK and one.arrived_s:
            groups[one.planned.warmth].append(one.ttft_s * 1000)
    return {name: [round(percentile(v, p), 1) for p in range(1, 101)] for name, v in groups.items()}
