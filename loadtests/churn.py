"""Every answer must be the right adapter's while adapters load, leave, change and are deleted.

python -m loadtests.churn                    10,000 requests; .bench/churn.json
python -m loadtests.churn --requests 300

First every version is asked alone. Then the same is asked in full batches while nothing changes:
that measures what batching alone does, the tolerance. Then come the requests, over more adapters
than fit into memory, while versions are published, promoted, rolled back and deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from adapters.console import note, print_table
from adapters.registry import FileRegistry
from loadtests import servers
from loadtests.churn_answers import Answer, agrees, distances, mistaken, tolerance_of
from loadtests.churn_registry import ChurnRegistry, Crowd
from loadtests.churn_requests import ChurnRequests, References, Refused, ask, prompt
from loadtests.distribution import percentile

BASE: Final = "gemma3-270m"
OUT: Final = Path(".bench")
REQUESTS: Final = 10_000
CROWD: Final = Crowd(still=30, moving=6)
STREAMS: Final = 24
PROMPTS: Final = 4
_SLOTS: Final = 8
# More than may be in use at once, prefetches included: or some requests would rightly be refused.
_MEMORY: Final = STREAMS + 8
_REPEATS: Final = 8
# Of a thousand mix-ups one may go unseen: some versions are near each other on some prompt.
_ALIKE: Final = 0.001


class CheckIsBlind(RuntimeError):
    """The check cannot tell versions apart, so that finding nothing would mean nothing."""


@dataclass(frozen=True)
class Settled:
    """What was learnt before anything changed."""

    references: References
    tolerance: float
    report: dict[str, Any]


def main() -> int:
    """Run the churn of the command line; return the exit code."""
    arguments = _arguments()
    servers.stop_on_signals()
    return run_churn(arguments.requests, Crowd(arguments.still, arguments.moving))


def run_churn(requests: int, crowd: Crowd) -> int:
    """Churn a server of ours, on a registry of its own; print and write the report.

    Returns the exit code: 1 if an answer was wrong or missing, or if nothing could be told.
    """
    folder = OUT / "churn-registry"
    shutil.rmtree(folder, ignore_errors=True)
    registry = ChurnRegistry(FileRegistry(folder), BASE, crowd)
    versions = registry.publish_all()
    note(f"{len(versions)} versions of {len(crowd.names)} adapters")
    launch = servers.dragoman(
        BASE, folder, ("--max-loras", str(_SLOTS), "--max-cpu-loras", str(_MEMORY))
    )
    try:
        with servers.running(launch, OUT / "churn.log") as server:
            report = asyncio.run(churn(server.url, registry, versions, requests))
    except (servers.ServerFailed, httpx.HTTPError, CheckIsBlind, Refused) as error:
        note(f"churn stopped: {type(error).__name__}: {error}; the log is {OUT / 'churn.log'}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (OUT / "churn.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    shown = {key: value for key, value in report.items() if key != "samples"}
    print_table(("churn", "value"), [*shown.items()], title="Every answer the right adapter's?")
    for sample in report["samples"]:
        note(sample)
    return 1 if report["wrong"] or report["failed"] else 0


async def churn(
    url: str, registry: ChurnRegistry, versions: Mapping[str, str], requests: int
) -> dict[str, Any]:
    """Return the report. Raises CheckIsBlind, httpx.HTTPError if the server is gone before."""
    limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=STREAMS)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        settled = await settle(client, versions)
        note(f"settled: {settled.report}")
        await asyncio.to_thread(registry.begin)
        run = ChurnRequests(client, registry, settled.references, settled.tolerance)
        found = await run.run(requests, streams=STREAMS, prompts=PROMPTS)
        metrics = (await client.get("/metrics")).text
    moved = {
        what: int(metric_sum(metrics, f"dragoman_adapter_{what}_total"))
        for what in ("loads", "evictions")
    }
    return {**found, **moved, **settled.report}


def metric_sum(exposition: str, name: str) -> float:
    """Return the sum over all labels of one metric in Prometheus' text format."""
    lines = [line for line in exposition.splitlines() if line.partition("{")[0] == name]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def settle(client: httpx.AsyncClient, versions: Mapping[str, str]) -> Settled:
    """Ask every version alone, then some in batches; see that versions can be told apart."""
    references = {
        (digest, number): (await ask(client, ref, prompt(number)))[0]
        for digest, ref in versions.items()
        for number in range(PROMPTS)
    }
    few = dict(itertools.islice(versions.items(), _SLOTS))
    batched = await _in_batches(client, few)
    tolerance = tolerance_of((answer, references[key]) for key, answer in batched)
    confused = mistaken(references, tolerance)
    # Each answer, taken for the one of the version next to it, as if the server had mixed them up.
    others = dict(zip(few, [*few][1:] + [*few][:1], strict=True))
    swaps = [(answer, references[others[digest], n]) for (digest, n), answer in batched]
    seen = sum(not agrees(answer, reference, tolerance) for answer, reference in swaps)
    pairs = len(versions) * (len(versions) - 1) * PROMPTS
    report = {
        "tolerance": round(tolerance, 4),
        "told_apart": round(1 - len(confused) / pairs, 5),
        "nearest_version_p1": round(percentile(distances(references), 1), 4),
        "planted_swaps": len(swaps),
        "planted_swaps_seen": seen,
    }
    if len(confused) > _ALIKE * pairs or seen < len(swaps):
        raise CheckIsBlind(f"{len(confused)} pairs of versions answer alike: {report}")
    return Settled(references, tolerance, report)


async def _in_batches(
    client: httpx.AsyncClient, versions: Mapping[str, str]
) -> list[tuple[tuple[str, int], Answer]]:
    keys = [*itertools.product(versions, range(PROMPTS))] * _REPEATS
    gate = asyncio.Semaphore(STREAMS)

    async def one(key: tuple[str, int]) -> tuple[tuple[str, int], Answer]:
        async with gate:
            return key, (await ask(client, versions[key[0]], prompt(key[1])))[0]

    return list(await asyncio.gather(*map(one, keys)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--still", type=int, default=CROWD.still, help="ids whose version stays")
    parser.add_argument(
        "--moving", type=int, default=CROWD.moving, help="ids whose versions come and go"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
