from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loadtests.bench_serving import _part
from loadtests.contender import Contender, Live
from loadtests.servers import Launch, Running
from loadtests.token_stream import StreamBroken


def test_part_that_fails_shows_the_logs_end_and_lets_the_next_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "ours.log"
    log.write_text("RuntimeError: engine core died\n")
    with subprocess.Popen(["true"]) as process:
        server = Running("http://127.0.0.1:1", process, log, 1.0)
    contender = Contender("ours", Launch(["true"], 1, "/ready", {}), {})
    figures: dict[str, list[str]] = {"failed": []}
    with _part("stall", [Live(contender, server, {})], figures):
        _break()
    assert figures["failed"] == ["stall: ours"]
    said = capsys.readouterr().err
    assert "without [DONE]" in said
    assert "engine core died" in said


def _break() -> None:
    raise StreamBroken("the stream ended without [DONE]")
