"""`torchrun … -m dragoman train`: one run with its files, and the adapter of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training import tiny
from tests.training.fit_once import fit_once

pytestmark = pytest.mark.train


def torchrun(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--standalone", "-m", "dragoman", "train", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_run_of_two_processes_tells_and_writes_everything_once(
    recipe_file: Path, tmp_path: Path
) -> None:
    tiny.write_base(tmp_path / "tiny")
    short = ("--set", "schedule.max_steps=10", "--set", "schedule.evaluate_every=5")
    chrf = ("--set", "schedule.early_stopping.segments=3", "--set", "evaluate.segments=2")
    run = ("recipe.yaml", "--out", "run", "--registry", "registry", "--json")
    done = torchrun(*run, *short, *chrf, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [step for step, _ in summary["dev_chrf"]] == [5, 10]
    assert done.stderr.count("train, 6 dev, 12 test segments") == 1
    names = {f.name for f in (tmp_path / "run").iterdir()}
    assert names >= {
        "recipe.yaml", "environment.json", "train.log", "metrics.jsonl", "loss.svg", "tensorboard",
    }  # fmt: skip
    steps = [
        json.loads(r)["step"] for r in (tmp_path / "run/metrics.jsonl").read_text().split("\n") if r
    ]
    assert steps == sorted(steps)

    again = torchrun(*run, *short, *chrf, "--resume", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "fit: done before" in again.stderr


def test_tensorboard_reads_what_was_measured(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    schedule = {"epochs": 3, "batch_size": 6, "evaluate_every": 3}
    result = fit_once(base, tmp_path / "run", {"rank": 4}, schedule)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for tag, wanted in (("train/loss", result.losses), ("dev/loss", result.dev_losses)):
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in wanted]
        values = [value for _, value in wanted]
        assert [value for _, value in found] == pytest.approx(values)
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in (tmp_path / "run/loss.svg").read_text()
