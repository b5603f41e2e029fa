from __future__ import annotations

import pytest

from loadtests.bench_tables import print_serving, speed_rows
from loadtests.bench_throughput import Speeds
from loadtests.servers import dry_run_of

SPEEDS = Speeds(
    {
        ("dragoman", "base", "32"): [100.0, 200.0],
        ("dragoman", "one", "32"): [90.0, 180.0],
        ("vllm", "base", "32"): [100.0, 200.0],
        ("vllm", "one", "32"): [30.0, 60.0],
        ("vllm_without_lora", "base", "32"): [120.0, 240.0],
    }
)


def test_ratios_are_taken_round_by_round_over_every_ground() -> None:
    assert SPEEDS.ratios()["one"]["32"] == {
        "of_base": 0.9, "of_base_without_lora": 0.75, "of_vllm": 3.0,
    }  # fmt: skip
    assert SPEEDS.ratios()["base"]["32"] == {"of_base_without_lora": 0.83, "of_vllm": 1.0}


def test_json_keeps_the_shape_that_its_readers_know() -> None:
    assert SPEEDS.table()["dragoman"] == {"base": {"32": 150.0}, "one": {"32": 135.0}}


def test_row_shows_every_server_and_the_spread() -> None:
    figures = {**SPEEDS.table(), "ratios": SPEEDS.ratios(), "spread": SPEEDS.spreads()}
    rows = [*speed_rows({**figures, "llama_cpp": None})]
    assert rows[1][:5] == ("one", "32", "135.0", "45.0", "")
    assert rows[1][5] == "base 0.90, base_without_lora 0.75, vllm 3.00 (±33%)"


def test_parts_that_failed_leave_the_others_printed(capsys: pytest.CaptureFixture[str]) -> None:
    times = {"p50": 1.0, "p95": 2.5, "n": 20}
    print_serving({"stall": None, "cold_load_ms": {"dragoman": {"disk": times}, "vllm": None}})
    out = capsys.readouterr().out
    assert "2.5" in out
    assert "vllm" not in out


def test_dry_run_is_asked_of_us_and_not_of_vllm() -> None:
    command = ["python", "-m", "dragoman", "serve", "--port", "1", "--", "--max-num-seqs", "32"]
    assert dry_run_of(command)[:6] == [*command[:4], "--dry-run", "--json"]
    assert dry_run_of(command)[6:] == command[4:]
