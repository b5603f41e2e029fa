"""Locust runs our file against a server, and counts what went wrong."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loadtests.known_server import Known, known

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def locust(server: Known, folder: Path) -> dict[str, dict[str, str]]:
    with known(server) as url:
        subprocess.run(
            [
                sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"),
                "--headless", "--users", "4", "--spawn-rate", "4", "--run-time", "4s",
                "--host", url, "--csv", str(folder / "found"), "--exit-code-on-error", "0",
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    with (folder / "found_stats.csv").open(encoding="utf-8") as file:
        return {f"{row['Type']} {row['Name']}": row for row in csv.DictReader(file)}


def test_locust_counts_each_adapter_and_its_first_token(tmp_path: Path) -> None:
    found = locust(Known(first_s=0.1, each_s=0.002), tmp_path)
    asked = {key for key in found if key.startswith("POST")}
    assert asked
    assert asked <= {"POST alpha", "POST beta", "POST gamma"}
    for key in asked:
        assert int(found[key]["Failure Count"]) == 0
        first = found[key.replace("POST", "first token")]
        assert 95 < float(first["Median Response Time"]) < 200


def test_a_stream_that_ends_with_an_error_is_a_failure(tmp_path: Path) -> None:
    found = locust(Known(error_every=1), tmp_path)
    assert int(found[" Aggregated"]["Failure Count"]) > 0
