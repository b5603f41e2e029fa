"""`make bench`: serving beside plain vLLM, right answers under churn, training beside plain TRL.

python -m loadtests.bench                              all three; .bench/*.json
python -m loadtests.bench serving                      one of them
python -m loadtests.bench methods                      only when named: an hour
python -m loadtests.bench autoscaling                  only when named: a simulation, ten seconds
python -m loadtests.bench data                         only when named: 1 GB of TMX, 20 minutes
python -m loadtests.bench serving --quick --part stall
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from adapters.console import note
from loadtests.bench_serving import BASE, FULL, PARTS, QUICK, SERVERS, bench_serving
from loadtests.bench_tables import print_serving
from loadtests.churn import CROWD, REQUESTS, run_churn
from loadtests.churn_registry import Crowd
from loadtests.servers import ServerFailed, stop_on_signals

OUT = Path(".bench")


def main() -> int:
    """Run the benches that were named; return the exit code."""
    arguments = _arguments()
    which = arguments.which
    stop_on_signals()
    # Three vLLM servers run side by side, and none of the loads fills a gigabyte of KV cache.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    OUT.mkdir(exist_ok=True)
    failed: list[str] = []
    try:
        subprocess.run([sys.executable, "-m", "dragoman", "base", "fetch", BASE], check=True)
        if "serving" in which:
            effort = QUICK if arguments.quick else FULL
            parts, names = arguments.part or PARTS, arguments.server or SERVERS
            figures = bench_serving(OUT / "serving.json", effort, parts, names)
            print_serving(figures)
            failed = figures["failed"]
        if "churn" in which and _churn(quick=arguments.quick):
            failed = [*failed, "churn"]
        if "training" in which:
            subprocess.run([sys.executable, "-m", "loadtests.bench_training"], check=True)
        if "autoscaling" in which:
            subprocess.run([sys.executable, "-m", "loadtests.autoscaling.scenarios"], check=True)
        if "data" in which:
            for module in ("loadtests.bench_corpus", "loadtests.bench_data"):
                subprocess.run([sys.executable, "-m", module], check=True)
        if "methods" in which:
            subprocess.run([sys.executable, "-m", "loadtests.bench_methods"], check=True)
    except (subprocess.CalledProcessError, ServerFailed) as error:
        note(f"the bench stopped: {error}")
        return 1
    for part in failed:
        note(f"failed: {part}")
    return 1 if failed else 0


def _churn(*, quick: bool) -> int:
    return run_churn(500, Crowd(still=24, moving=4)) if quick else run_churn(REQUESTS, CROWD)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = ("serving", "churn", "training")
    choices = (*usual, "methods", "autoscaling", "data")
    parser.add_argument("which", nargs="*", default=[*usual], help=f"of {', '.join(choices)}")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer and shorter rounds: serving in five minutes, churn in two",
    )
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="measure only this part of serving"
    )
    parser.add_argument(
        "--server", action="append", choices=SERVERS, help="measure only this server"
    )
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.which} - {*choices}):
        parser.error(f"unknown bench {', '.join(unknown)}; choose from {', '.join(choices)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
