"""`dragoman bench`: what a server holds, by adapter, and whether it got worse."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from adapters.console import note, print_json, print_table
from loadtests.load.kind import Kind

if TYPE_CHECKING:
    from loadtests.load.scenario import Scenario

OUT = Path(".bench/loads")


class _ScenarioOrCommand(TyperGroup):
    """`bench steady` is `bench run steady`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ScenarioOrCommand,
    no_args_is_help=True,
    help="""Load a server as its users would, and check its answers meanwhile.

    Example: dragoman bench steady --url http://127.0.0.1:8000
    """,
)


@app.command("list")
def list_scenarios(json_: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the scenarios that ship.

    Example: dragoman bench list
    """
    from loadtests.load.scenario import SHIPPED, names

    found = {name: _first_comment(SHIPPED / f"{name}.yaml") for name in names()}
    if json_:
        print_json(found)
    else:
        print_table(("scenario", "what it shows"), [*found.items()])


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A shipped scenario's name, or a YAML file.")],
    url: Annotated[
        str | None, typer.Option(help="Any OpenAI-compatible server; none: one is started.")
    ] = None,
    server: Annotated[Kind, typer.Option(help="What is started without --url.")] = Kind.DRAGOMAN,
    model: Annotated[
        list[str] | None, typer.Option(help="Adapter to ask; again for more. Default: all.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="'Authorization: Bearer …', for example.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the scenario.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of NAME.json and NAME.html.")] = OUT,
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run one scenario; exit 1 if a check or a budget fails, or if the run is void.

    Example: dragoman bench run burst --url http://127.0.0.1:8000 --set arrivals.per_s=2
    """
    from loadtests import servers
    from loadtests.load.scenario import Scenario

    servers.stop_on_signals()
    asked = Scenario.load(scenario, set_ or ())
    out.mkdir(parents=True, exist_ok=True)
    found = _loaded(asked, (url, server, tuple(model or ()), _headers(header or ())), out)
    _write(found, out / asked.name)
    if json_:
        print_json(found)
    else:
        _print(found, out / asked.name)
    raise typer.Exit(0 if found["verdict"] == "passed" else 1)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The JSON of a run.")],
    after: Annotated[Path, typer.Argument(help="The JSON of a later run of the same scenario.")],
    allowance: Annotated[
        float, typer.Option(min=0, help="How much worse is still the same; 0.15: 15 %.")
    ] = 0.15,
    json_: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Say which figures got worse; exit 1 if one did.

    Example: dragoman bench compare before/steady.json after/steady.json
    """
    from loadtests.load import compare as comparison

    rows = comparison.compare(comparison.read(before), comparison.read(after), allowance)
    if json_:
        print_json(
            [
                {"figure": r.name, "before": r.before, "after": r.after, "verdict": r.verdict}
                for r in rows
            ]
        )
    else:
        print_table(
            ("figure", "before", "after", "change", ""),
            [(r.name, r.before, r.after, f"{r.change:+.1%}", r.verdict) for r in rows],
        )
    raise typer.Exit(1 if any(row.verdict == "worse" for row in rows) else 0)


def _loaded(
    scenario: Scenario,
    target: tuple[str | None, Kind, tuple[str, ...], dict[str, str]],
    out: Path,
) -> dict[str, Any]:
    from loadtests.load import target as targets
    from loadtests.load.report import report
    from loadtests.load.run import run as run_load

    url, kind, models, headers = target
    command = shlex.join(["dragoman", *sys.argv[1:]])
    if url:
        there = targets.running(url.rstrip("/"), models, headers, scenario)
        return report(asyncio.run(run_load(scenario, there)), command)
    with targets.started(kind, scenario, out) as ours:
        return report(asyncio.run(run_load(scenario, ours)), command)


def _headers(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    parts = [header.partition(":") for header in given]
    if wrong := [name for name, colon, _ in parts if not colon]:
        raise typer.BadParameter(f"--header {wrong[0]}: expected 'Name: value'")
    return {name.strip(): value.strip() for name, _, value in parts}


def _write(found: dict[str, Any], stem: Path) -> None:
    from loadtests.load.page import page

    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".html").write_text(page(found), encoding="utf-8")


def _print(found: dict[str, Any], stem: Path) -> None:
    requests, checks, rates = found["requests"], found["checks"], found["throughput"]
    ended = {name: n for name, n in requests.items() if n and name != "sent"}
    rows = [
        ("requests", f"{requests['sent']}: " + ", ".join(f"{n} {k}" for k, n in ended.items())),
        (
            "answered",
            f"{rates['answered_per_s']}/s of {rates['offered_per_s']}/s",
        ),
        ("tokens", f"{rates['tokens_per_s']}/s"),
        ("goodput", f"{found['goodput']['share']:.1%}"),
        *(
            (
                f"{title}, {warmth}",
                f"{row['p50']:.0f} ms, p95 {row['p95']:.0f}, p99 {row['p99']:.0f}",
            )
            for name, title in (("ttft", "first token"), ("tpot", "each token"))
            for warmth, row in found["latency_ms"][name].items()
        ),
        ("probes", f"{checks['probes']}, {checks['wrong']} wrong"),
        ("generator late", f"{found['lag_ms']['p99']} ms (p99)"),
    ]
    print_table((found["scenario"]["name"], found["verdict"]), rows)
    for fault in found["faults"]:
        note(fault)
    note(f"report: {stem.with_suffix('.html')}")


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()
