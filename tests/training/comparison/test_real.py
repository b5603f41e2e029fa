"""A whole comparison, as it is typed: real trainings in processes of their own, on a tiny base."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny

pytestmark = pytest.mark.train

SPEC = """\
title: Ranks
recipe: recipe.yaml
baseline: base
set: {decoding.min_max_tokens: 8, decoding.max_tokens_per_source_token: 0.2}
systems:
  - {name: base, base: {shots: 1}}
  - {name: r2, set: {method.rank: 2, schedule.max_steps: 2}}
  - {name: r8, set: {method.rank: 8, schedule.max_steps: STEPS, schedule.save_every: 2}}
"""


def spec_in(folder: Path, recipe_file: Path, *, steps: int) -> Path:
    base = tiny.write_base(folder / "real")
    text = recipe_file.read_text(encoding="utf-8")
    text = text.replace(f"base: {folder / 'tiny'}", f"base: {base}")
    recipe_file.write_text(text + "schedule: {epochs: 500}\n", encoding="utf-8")
    path = folder / "ranks.yaml"
    path.write_text(SPEC.replace("STEPS", str(steps)), encoding="utf-8")
    return path


def command(spec: Path) -> list[str]:
    typed = ["compare", str(spec), "--out", str(spec.parent / "out"), "--json"]
    return [sys.executable, "-m", "dragoman", *typed]


def test_a_comparison_that_was_terminated_in_a_training_goes_on_from_its_checkpoint(
    tmp_path: Path, recipe_file: Path
) -> None:
    spec = spec_in(tmp_path, recipe_file, steps=40)
    run = tmp_path / "out" / "runs" / "r8"
    with subprocess.Popen(command(spec), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not [*run.glob("checkpoints/*")] and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "the same command goes on: dragoman compare" in told
    assert not (run / "fit.json").exists()
    done = subprocess.run(command(spec), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "] base: done before" in done.stderr
    assert "] r2: done before" in done.stderr
    assert "fit: goes on after step" in done.stderr
    body = json.loads(done.stdout)
    systems = {one["system"]: one for one in body["scoreboard"]["systems"]}
    assert systems["r8"]["notes"]["training time"] == "of the last of 2 sessions"
    check_figures(body)


def check_figures(body: dict[str, Any]) -> None:
    small, large = (one["training"] for one in body["systems"][1:])
    assert small["trainable_parameters"] * 4 == large["trainable_parameters"]
    assert small["adapter_mb"] < large["adapter_mb"]
    assert (small["steps"], large["steps"]) == (2, 40)
    assert large["peak_rss_gb"] > 0
    assert large["dev_loss"] < small["dev_loss"]
    steps = [step for step, _ in body["losses"]["r8"]["train"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40
