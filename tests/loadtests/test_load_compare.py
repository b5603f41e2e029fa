"""Two reports side by side, budgets, and the page."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.errors import ReportInvalid, ScenarioInvalid
from dragoman import build_app
from loadtests.load.budgets import Budget, broken
from loadtests.load.compare import compare, read
from loadtests.load.page import page
from loadtests.load.plan import plan
from loadtests.load.probes import Judgement
from loadtests.load.report import report
from loadtests.load.run import Run
from loadtests.load.scenario import Scenario
from loadtests.load.served import Ending, Served
from loadtests.load.target import Target
from loadtests.load.watch import Holding, Processes, growth


def made(first_s: float = 0.1, *, left: int = 0) -> dict[str, Any]:
    """Return the report of a run in which everybody waits `first_s`, and the first `left` leave."""
    scenario = Scenario.model_validate(
        {"name": "s", "seconds": 20.0, "arrivals": {"kind": "poisson", "per_s": 10.0}}
    )
    target = Target("http://there", ("<b>", "b-en-fr"), {})
    served = [
        Served(
            one, sent_s=one.at_s, ended_s=one.at_s + first_s + 0.5, status=200, tokens=11,
            ending=Ending.LEFT if place < left else Ending.OK,
            arrived_s=[one.at_s + first_s, one.at_s + first_s + 0.5],
        )
        for place, one in enumerate(plan(scenario, target.models))
    ]  # fmt: skip
    held = [Holding(float(t), 1000.0 + t, 50, 300) for t in range(20)]
    event = {"kind": "swap", "at_s": 9.0, "took_s": 0.1, "said": "<script>"}
    began = datetime(2026, 1, 2, tzinfo=UTC)
    run = Run(scenario, target, began, served, None, Judgement(), [event], held, 0)
    return report(run, "dragoman bench s")


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return made()


def test_figures_are_what_the_clients_saw(sound: dict[str, Any]) -> None:
    assert sound["verdict"] == "passed"
    assert sound["latency_ms"]["ttft"]["all"]["p99"] == pytest.approx(100, abs=0.1)
    assert sound["latency_ms"]["tpot"]["all"]["p50"] == pytest.approx(50, abs=0.1)
    assert sound["throughput"]["offered_per_s"] == pytest.approx(10, rel=0.15)
    assert sound["requests"]["ok"] == sound["requests"]["sent"]
    assert sound["goodput"]["share"] == 1
    assert json.loads(json.dumps(sound)) == sound


def test_a_process_that_comes_later_is_held_too() -> None:
    processes = Processes(os.getpid())
    before, _ = processes.held()
    late = [sys.executable, "-S", "-c", "held = b'x' * 60_000_000; input('held\\n')"]
    with subprocess.Popen(late, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        found = [processes.held()[0] for _ in range(13)]
        child.communicate(b"\n")
    assert before is not None
    assert found[-1] is not None
    assert found[-1] - before > 50_000_000


def test_goodput_is_of_the_clients_that_stayed() -> None:
    found = made(left=150)
    assert found["requests"]["left"] > 0
    assert found["goodput"]["share"] == 1


def test_an_answer_that_takes_longer_is_worse_and_nothing_else_is(sound: dict[str, Any]) -> None:
    rows = {row.name: row.verdict for row in compare(sound, made(0.15))}
    worse = {name for name, verdict in rows.items() if verdict == "worse"}
    assert worse
    assert all(name.startswith("latency_ms.ttft.") for name in worse)
    assert {row.verdict for row in compare(sound, made(0.11))} == {"same"}
    better = {r.name for r in compare(made(0.15), sound) if r.verdict == "better"}
    assert better == worse


def test_one_more_failure_is_worse_whatever_is_allowed(sound: dict[str, Any]) -> None:
    after = copy.deepcopy(sound)
    after["requests"]["lost"] = 1
    (row,) = [r for r in compare(sound, after, allowance=9.0) if r.verdict == "worse"]
    assert row.name == "requests.lost"


def test_runs_that_asked_differently_are_not_compared(sound: dict[str, Any]) -> None:
    after = copy.deepcopy(sound)
    after["scenario"]["seed"] = 7
    with pytest.raises(ReportInvalid, match="seed was 0, is 7"):
        compare(sound, after)


def test_a_void_run_is_not_compared(sound: dict[str, Any]) -> None:
    after = {**sound, "verdict": "void", "faults": ["void: 9 ms late"]}
    with pytest.raises(ReportInvalid, match="second run is void: void: 9 ms"):
        compare(sound, after)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": 9}'])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ReportInvalid, match=r"x\.json"):
        read(path)


def test_the_command_exits_by_the_verdict(sound: dict[str, Any], tmp_path: Path) -> None:
    for name, one in (("a", sound), ("b", made(0.3))):
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
    runner, app = CliRunner(), build_app()
    same = runner.invoke(app, ["bench", "compare", *map(str, [tmp_path / "a.json"] * 2)])
    worse = runner.invoke(
        app, ["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"]
    )
    assert (same.exit_code, worse.exit_code) == (0, 1)
    assert {row["verdict"] for row in json.loads(worse.stdout)} == {"same", "worse"}


def test_a_budget_of_an_unknown_figure_names_the_nearest(sound: dict[str, Any]) -> None:
    with pytest.raises(ScenarioInvalid, match=r"latency_ms\.ttft\.all\.p95"):
        broken({"latency_ms.ttft.p95": Budget(most=1.0)}, sound)


def test_a_budget_without_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="`most` or `least`"):
        Budget()


def test_growth_is_told_from_the_settled_start() -> None:
    held = [Holding(float(t), 500.0 if t < 10 else 1000.0 + t, 50, 300) for t in range(100)]
    found = growth(held)
    assert found["rss_mb"]["growth_percent"] == pytest.approx(6.2, abs=1)
    assert found["descriptors"]["growth_percent"] == 0


@pytest.mark.slow
def test_the_page_is_whole_offline_and_escapes_what_servers_say(sound: dict[str, Any]) -> None:
    text = page(sound)
    assert text.count("<svg") == text.count("</svg>") == 4
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "src=" not in text
    assert "dragoman bench s" in text
