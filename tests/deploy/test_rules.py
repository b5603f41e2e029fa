"""Recording rules and alerts: promtool's own tests, and a runbook for each alert."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from adapters.errors import Overloaded
from loadtests.autoscaling.demand import Demand, Scrape
from tests.deploy.programs import debian_program
from tests.deploy.rendered import ROOT

pytestmark = pytest.mark.slow

RULES: Final = ROOT / "deploy" / "prometheus"
ALERTS: Final = [
    rule
    for group in yaml.safe_load((RULES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def promtool(*arguments: str | Path) -> str:
    program = debian_program("promtool", "prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_well_formed() -> None:
    promtool("check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yaml")))


@pytest.mark.parametrize("part", ["alerts", "recording"])
def test_rules_do_what_their_tests_say(part: str) -> None:
    promtool("test", "rules", RULES / "tests" / f"{part}.yaml")


def test_every_alert_fires_in_one_test_and_is_silent_in_another() -> None:
    tests = yaml.safe_load((RULES / "tests" / "alerts.yaml").read_text(encoding="utf-8"))["tests"]
    fires: set[str] = set()
    silent: set[str] = set()
    for test in tests:
        # Series of `fine` stand beside those of `bad`; promtool allows no alert but those named.
        beside = any("fine" in series["series"] for series in test["input_series"])
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else silent).add(case["alertname"])
            if beside:
                silent.add(case["alertname"])
    names = {alert["alert"] for alert in ALERTS}
    assert len(names) >= 10
    assert fires == names
    assert silent == names


def test_a_reason_that_rules_ask_for_is_the_code_of_an_error() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(RULES.glob("*.yaml"))]
    reasons = {
        r for text in texts for r in re.findall(r'dragoman_shed_total\{reason="(\w+)"', text)
    }
    assert reasons == {Overloaded.code}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a["alert"])
def test_every_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = {h.lower() for h in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert anchor == alert["alert"].lower()
    assert anchor in headings


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (Dragoman\w+)$", text, re.MULTILINE))
    assert headings == {alert["alert"] for alert in ALERTS}


def test_the_simulation_reads_the_rule_as_prometheus_does(tmp_path: Path) -> None:
    utilization = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 1.0]
    arrivals = [0, 20, 50, 90, 140, 200, 270, 350, 440, 500, 550, 600]
    ended = [0, 18, 45, 75, 105, 135, 165, 195, 225, 255, 285, 315]
    rule = Demand()
    for i, (full, came, went) in enumerate(zip(utilization, arrivals, ended, strict=True)):
        rule.note(Scrape(15.0 * i, full, full, full, came, went))
    series: dict[str, list[Any]] = {
        "dragoman_utilization": utilization,
        "dragoman_arrivals_total": arrivals,
        "dragoman_requests_total": ended,
    }
    case = {
        "interval": "15s",
        "input_series": [
            {"series": f'{name}{{namespace="n"}}', "values": " ".join(map(str, values))}
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                # Prometheus extrapolates counters to the ends of the window, by a few hundredths.
                "expr": f"abs(sum(dragoman:demand:pods) / {rule.pods()} - 1) < bool 0.03",
                "eval_time": f"{15 * (len(utilization) - 1)}s",
                "exp_samples": [{"value": 1}],
            }
        ],
    }
    files = {"rule_files": [str(RULES / "recording.yaml")], "evaluation_interval": "15s"}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({**files, "tests": [case]}))
    promtool("test", "rules", tmp_path / "test.yaml")
