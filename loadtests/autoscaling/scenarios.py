"""Traces, the manifest's own autoscaler, and what became of them: .bench/autoscaling.json.

python -m loadtests.autoscaling.scenarios                    every trace: figures, and docs' plots
python -m loadtests.autoscaling.scenarios --start-s 240      with pods that take longer to start
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from loadtests.autoscaling import recorded
from loadtests.autoscaling.cluster import PodKind, run
from loadtests.autoscaling.demand import Demand, Queued, Seats, Signal
from loadtests.autoscaling.hpa import Autoscaler, Direction
from loadtests.autoscaling.outcome import Outcome
from loadtests.autoscaling.traces import SYNTHETIC, poisson

HPA: Final = Path(__file__).resolve().parents[2] / "deploy/kustomize/components/hpa/hpa.yaml"
OUT: Final = Path(".bench/autoscaling.json")
PLOT: Final = Path("docs/images/autoscaling.svg")
SIGNALS: Final[dict[str, type[Signal]]] = {"demand": Demand, "seats": Seats, "queue": Queued}
_SECONDS: Final = 7200.0
_MOST_PER_S: Final = 100.0


def shipped() -> Autoscaler:
    """Return the autoscaler that components/hpa asks for."""
    spec = yaml.safe_load(HPA.read_text(encoding="utf-8"))["spec"]
    (metric,) = spec["metrics"]
    return Autoscaler(
        target=float(metric["external"]["target"]["averageValue"].removesuffix("m")) / 1000,
        least=spec["minReplicas"],
        most=spec["maxReplicas"],
        up=Direction.of(spec["behavior"]["scaleUp"]),
        down=Direction.of(spec["behavior"]["scaleDown"]),
    )


@functools.cache
def traces(seed: int = 0) -> dict[str, list[float]]:
    """Return arrival times by the trace's name: two synthetic hours each, and what was recorded."""
    made = {
        name: list(poisson(rate, seconds=_SECONDS, most=_MOST_PER_S, seed=seed))
        for name, rate in SYNTHETIC.items()
    }
    return {**made, "recorded": recorded.arrivals()}


def play(arrivals: Sequence[float], kind: PodKind, signal: type[Signal] = Demand) -> Outcome:
    """Return what the shipped autoscaler makes of a trace, from as many pods as its start needs."""
    scaler = shipped()
    at_first = sum(t < 60 for t in arrivals) / 60 / kind.requests_per_s / scaler.target
    return run(arrivals, kind, scaler, replicas=max(1, math.ceil(at_first)), signal=signal)


def figures(outcome: Outcome) -> dict[str, Any]:
    """Return what is asked of an autoscaler, as figures."""
    return {
        "reversals_in_10_min": outcome.reversals(),
        "overshoot_pods": outcome.overshoot(),
        "in_time_percent": round(100 * outcome.kept(), 2),
        "late_for_s": round(outcome.late_for_s()),
        "most_pods": max(outcome.wanted),
        "pod_hours": round(outcome.pod_hours(), 2),
    }


def main() -> int:
    """Simulate every trace by each signal; print the table, write figures and plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--start-s", type=float, default=PodKind().start_s, help="until ready")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--plot", type=Path, default=PLOT)
    arguments = parser.parse_args()
    kind = PodKind(start_s=arguments.start_s)
    outcomes = {
        (name, signal): play(arrivals, kind, SIGNALS[signal])
        for name, arrivals in traces().items()
        for signal in SIGNALS
    }
    rows = [{"trace": n, "signal": s, **figures(o)} for (n, s), o in outcomes.items()]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(rows))
    from loadtests.autoscaling.plots import draw

    draw({n: o for (n, s), o in outcomes.items() if s == "demand"}, arguments.plot)
    return 0


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    head = [key.replace("_", " ") for key in rows[0]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(v) for v in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
