"""What one real pod shows while its load rises past what it can do, and falls again.

python -m loadtests.autoscaling.record            ten minutes; loadtests/autoscaling/recorded.json

The simulation's pod is held against this, and so is the rule that autoscalers read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from adapters.console import note
from loadtests import servers
from loadtests.autoscaling.cluster import PodKind
from loadtests.autoscaling.demand import SCRAPE_S
from loadtests.autoscaling.recorded import RECORDED
from loadtests.autoscaling.traces import poisson
from loadtests.prompts import fresh_seeds, prompt_ids
from loadtests.token_stream import completion

_BASE: Final = "gemma3-270m"
# Requests a second, each for a minute; a full batch answers 18.
STEPS: Final = (2.0, 5.0, 9.0, 13.0, 16.0, 24.0, 24.0, 9.0, 9.0, 3.0)
_STEP_S: Final = 60.0
_METRICS: Final = {
    "utilization": "dragoman_utilization",
    "saturation": "dragoman_saturation",
    "arrivals": "dragoman_arrivals_total",
    "ended": "dragoman_requests_total",
}


def main() -> int:
    """Start a server, load it, write what it showed; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RECORDED)
    arguments = parser.parse_args()
    servers.stop_on_signals()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    subprocess.run([sys.executable, "-m", "dragoman", "base", "fetch", _BASE], check=True)
    kind = PodKind()
    flags = ("--", "--max-num-seqs", str(kind.seats))
    with tempfile.TemporaryDirectory() as scratch:
        launch = servers.dragoman(_BASE, Path(scratch, "registry"), flags)
        with servers.running(launch, Path(scratch, "server.log")) as server:
            rows, failed = asyncio.run(_load(server.url, kind.tokens))
    body = {"start_s": round(server.start_s, 1), "failed": failed, "rows": rows}
    arguments.out.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return 0


async def _load(url: str, tokens: int) -> tuple[list[dict[str, Any]], int]:
    """Send requests as planned, answered or not; return a row a scrape, and how many failed."""
    seconds = _STEP_S * len(STEPS)
    plan = poisson(lambda t: STEPS[int(t // _STEP_S)], seconds=seconds, most=max(STEPS))
    seeds = fresh_seeds()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        began = time.perf_counter()

        async def ask(at_s: float) -> None:
            await asyncio.sleep(max(0.0, began + at_s - time.perf_counter()))
            body = {**completion(_BASE, prompt_ids(next(seeds)), tokens), "stream": False}
            (await client.post("/v1/completions", json=body)).raise_for_status()

        asked = [asyncio.create_task(ask(at_s)) for at_s in plan]
        rows = []
        for number in range(int(seconds / SCRAPE_S) + 1):
            await asyncio.sleep(max(0.0, began + number * SCRAPE_S - time.perf_counter()))
            text = (await client.get("/metrics")).text
            rows.append({"at_s": number * SCRAPE_S, **_shown(text)})
        ends = await asyncio.gather(*asked, return_exceptions=True)
    failures = [end for end in ends if isinstance(end, BaseException)]
    for failure in failures:
        note(f"failed: {failure!r}")
    return rows, len(failures)


def _shown(text: str) -> dict[str, float]:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {
        name: round(sum(s.value for s in samples if s.name == metric), 3)
        for name, metric in _METRICS.items()
    }


if __name__ == "__main__":
    sys.exit(main())
