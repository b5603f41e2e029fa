"""Two processes make the adapter that one makes of the same batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.errors import TrainingFailed
from adapters.manifest import WEIGHTS_FILE
from tests.training import tiny
from tests.training.fit_once import fit_once, in_process
from training.fit import ranks
from training.fit.arguments import per_process
from training.fit.batches import LengthGrouped
from training.run_log import RunLog

pytestmark = pytest.mark.train

# By eight: the last batch has one row, none for the second process.
ROWS = 17
SCHEDULE: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 8,
    "gradient_accumulation": 2,
    "learning_rate": 2e-2,
    "save_every": 2,
    "evaluate_every": 3,
    # Half of a process's share of a batch: gradients meet in the last pass only.
    "tokens_per_pass": 64,
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LoRA": ({"rank": 4}, {"early_stopping": {"patience": 50}}),
    "AdaLoRA": ({"kind": "adalora", "rank": 2, "start_rank": 4}, {}),
}


def in_rank(rank: int, port: int, kill: dict[str, int], arguments: Any, options: Any) -> None:
    """Fit as one of two processes."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", **place}
    with ranks.joined():
        in_process(kill, arguments, options)


def together(kill: dict[str, int], *arguments: Any, **options: Any) -> list[int | None]:
    """Run a fit in two processes; return their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.fit_once"])
    processes = [
        context.Process(target=in_rank, args=(rank, port, kill, arguments, options))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("base") / "tiny")


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / WEIGHTS_FILE)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_adapter_of_one(case: str, base: Path, tmp_path: Path) -> None:
    method, more = CASES[case]
    schedule = {**SCHEDULE, **more}
    one = fit_once(base, tmp_path / "one", method, schedule, rows=ROWS)
    assert together({}, base, tmp_path / "two", method, schedule, rows=ROWS) == [0, 0]
    wanted, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4)
    figures = RunLog(tmp_path / "two").figures()
    for name, of_one in (("dev_loss", one.dev_losses), ("dev_chrf", one.dev_chrf)):
        of_two = [row[name] for row in figures if name in row]
        assert of_two == pytest.approx([value for _, value in of_one], rel=1e-4)
    assert bool(one.dev_chrf) == bool(more)


def test_two_killed_processes_resume_to_the_same_bytes(base: Path, tmp_path: Path) -> None:
    method = {"rank": 4, "dropout": 0.2}
    fit_of = (base, tmp_path / "broken", method, SCHEDULE)
    assert together({}, base, tmp_path / "whole", method, SCHEDULE, rows=ROWS) == [0, 0]
    assert together({"step": 5}, *fit_of, rows=ROWS) == [-signal.SIGKILL] * 2
    assert together({}, *fit_of, rows=ROWS, resume=True) == [0, 0]
    whole, broken = (tmp_path / name / "adapter" / WEIGHTS_FILE for name in ("whole", "broken"))
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("rows", [16, 17, 18, 23])
def test_processes_share_every_batch_and_have_as_many(rows: int) -> None:
    lengths = [i % 7 + 1 for i in range(rows)]
    whole = list(LengthGrouped(lengths, 4, seed=1))
    shares = [LengthGrouped(lengths, 4, seed=1, rank=rank, ranks=2) for rank in range(2)]
    found = [list(share) for share in shares]
    assert [len(share) for share in shares] == [len(rows) for rows in found]
    assert len({-(-len(rows) // 2) for rows in found}) == 1
    batches = [
        sorted(found[0][i : i + 2] + found[1][i : i + 2]) for i in range(0, len(found[0]), 2)
    ]
    blank = rows
    assert [[i for i in batch if i != blank] for batch in batches] == [
        sorted(whole[i : i + 4]) for i in range(0, rows, 4)
    ]


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert per_process(12) == 4
    with pytest.raises(TrainingFailed, match="use a multiple of 3"):
        per_process(16)
