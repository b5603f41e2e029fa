"""`make loadtest`: every scenario in full on a server of ours, and what that says of it.

python -m loadtests.reliability                 about an hour; .bench/loads/, a table
python -m loadtests.reliability --only burst    one of them
python -m loadtests.reliability --print         the table again, of what was measured

The table is what docs/reliability.md holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adapters.console import note
from loadtests import bad_inputs, servers
from loadtests.load import target
from loadtests.load.kind import Kind
from loadtests.load.scenario import Scenario, names

OUT: Final = Path(".bench/loads")
_BAD_INPUTS: Final = 1000
_BAD_FILE: Final = "bad-inputs.json"


def main() -> int:
    """Run what was asked for; return the exit code: 1 if anything failed."""
    arguments = _arguments()
    servers.stop_on_signals()
    chosen = arguments.only or [*names(), "bad-inputs"]
    failed = []
    if not arguments.print:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name in chosen:
            note(f"-- {name}")
            done = _bad(arguments.out) if name == "bad-inputs" else _scenario(name, arguments.out)
            failed += [] if done else [name]
    sys.stdout.write(table(arguments.out))
    for name in failed:
        note(f"failed: {name}")
    return 1 if failed else 0


def _scenario(name: str, out: Path) -> bool:
    command = [sys.executable, "-m", "dragoman", "bench", "run", name, "--out", str(out)]
    return subprocess.run(command, check=False).returncode == 0


def _bad(out: Path) -> bool:
    """Send broken requests; return whether none was answered 5xx and the server still answers."""
    scenario = Scenario.load("steady")
    with target.started(Kind.DRAGOMAN, scenario, out) as there:
        found = asyncio.run(bad_inputs.tried(there.url, there.models, _BAD_INPUTS))
        alive = target.listed(there.url, {})
    whole = {
        "tried": _BAD_INPUTS,
        "statuses": dict(sorted(found.statuses.items())),
        "faults": found.faults,
        "answers_after": bool(alive),
    }
    (out / _BAD_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    for fault in found.faults:
        note(fault)
    return bool(alive) and found.is_good


def table(out: Path) -> str:
    """Return what the reports in `out` say, as Markdown."""
    reports = [_read(out / f"{name}.json") for name in names()]
    rows = [_row(report) for report in reports if report]
    head = (
        "scenario", "verdict", "asked", "answered", "failed", "unreached", "lost", "left",
        "probes", "wrong", "goodput", "first token p50 / p95 / p99 ms", "tokens/s",
    )  # fmt: skip
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, rows)]
    if bad := _read(out / _BAD_FILE):
        said = ", ".join(f"{count} x {status}" for status, count in bad["statuses"].items())
        lines += ["", f"Bad inputs tried: {bad['tried']} ({said})."]
    if (soak := _read(out / "soak.json")) and soak["held"]:
        grown = ", ".join(
            f"{what} {one['first']:g} to {one['last']:g} ({one['growth_percent']:+.2f} %)"
            for what, one in soak["held"].items()
        )
        lines += ["", f"Held over {soak['scenario']['seconds'] / 60:g} minutes: {grown}."]
    return "\n".join(lines) + "\n"


def _row(report: Mapping[str, Any]) -> Sequence[object]:
    requests, checks = report["requests"], report["checks"]
    first = report["latency_ms"]["ttft"].get("all")
    return (
        report["scenario"]["name"], report["verdict"], requests["sent"], requests["ok"],
        requests["failed"] + requests["shed"], requests["unreached"], requests["lost"],
        requests["left"], checks["probes"], checks["wrong"],
        f"{report['goodput']['share']:.1%}",
        f"{first['p50']:.0f} / {first['p95']:.0f} / {first['p99']:.0f}" if first else "",
        report["throughput"]["tokens_per_s"],
    )  # fmt: skip


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=[*names(), "bad-inputs"])
    parser.add_argument("--print", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
