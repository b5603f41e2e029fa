"""A run that was killed goes on to the very bytes of an unbroken one."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.manifest import WEIGHTS_FILE
from tests.training import tiny
from tests.training.fit_once import in_process
from training.fit import checkpoints

pytestmark = pytest.mark.train
Unbroken = Callable[[dict[str, Any], dict[str, Any]], bytes]

# 22 rows in batches of 3, two a step: the last batch has one row, the last step one batch.
SCHEDULE: dict[str, Any] = {
    "epochs": 2.5,
    "batch_size": 3,
    "gradient_accumulation": 2,
    "learning_rate": 2e-2,
    "save_every": 3,
    "evaluate_every": 2,
}
DROPOUT = {"rank": 4, "dropout": 0.2}
ADALORA = {"kind": "adalora", "rank": 2, "start_rank": 4, "dropout": 0.1}
BEST: dict[str, Any] = {
    "early_stopping": {"metric": "chrf", "patience": 50},
    "average_checkpoints": 2,
}


def run(kill: dict[str, int], *arguments: Any, **options: Any) -> int | None:
    """Run a fit in a process of its own; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.fit_once"])
    process = context.Process(target=in_process, args=(kill, arguments, options))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("base") / "tiny")


def adapter(out: Path) -> bytes:
    return (out / "adapter" / WEIGHTS_FILE).read_bytes()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, int], int]] = {
    "dropout, killed between checkpoints": (DROPOUT, {}, {"step": 8}, 6),
    "killed in a checkpoint": (DROPOUT, {}, {"checkpoint": 6}, 3),
    "killed at an epoch's end": (DROPOUT, {"save_every": 4}, {"step": 5}, 4),
    "AdaLoRA, its ranks have moved": (ADALORA, {}, {"step": 8}, 6),
    "the best two of dev": (DROPOUT, BEST, {"step": 8}, 6),
    "the mean of the last two": (DROPOUT, {"average_checkpoints": 2}, {"checkpoint": 9}, 6),
}


@pytest.fixture(scope="module")
def unbroken(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Return the adapter of a run that nobody killed, made once for equal runs."""
    made: dict[str, bytes] = {}

    def make(method: dict[str, Any], schedule: dict[str, Any]) -> bytes:
        key = repr((method, schedule))
        if key not in made:
            out = tmp_path_factory.mktemp("whole")
            assert run({}, base, out, method, schedule) == 0
            made[key] = adapter(out)
        return made[key]

    return make


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_resumes_to_the_same_bytes(
    case: str, base: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    method, more, kill, goes_on_from = CASES[case]
    schedule = {**SCHEDULE, **more}
    broken = tmp_path / "broken"
    assert run(kill, base, broken, method, schedule) == -signal.SIGKILL
    assert not (broken / "adapter").exists()
    assert run({}, base, broken, method, schedule, resume=True) == 0
    assert f"goes on after step {goes_on_from}\n" in (broken / "train.log").read_text()
    assert adapter(broken) == unbroken(method, schedule)
    assert (broken / "metrics.jsonl").read_text().count("dev_loss") == 5


def test_a_resumed_run_has_the_random_numbers_of_the_checkpoint(
    base: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    """Without them another dropout is drawn: the equal bytes above are no accident."""
    broken = tmp_path / "broken"
    assert run({"step": 8}, base, broken, DROPOUT, SCHEDULE) == -signal.SIGKILL
    checkpoint = broken / "checkpoints" / "checkpoint-6"
    (checkpoint / "rng_state.pth").unlink()
    checkpoints.finish(checkpoint, _Read(checkpoint).kept)
    assert run({}, base, broken, DROPOUT, SCHEDULE, resume=True) == 0
    assert adapter(broken) != unbroken(DROPOUT, SCHEDULE)


class _Read:
    """The states of a checkpoint, to be written again as they are."""

    def __init__(self, checkpoint: Path) -> None:
        self.kept = {"guard": self}
        checkpoints.restore(checkpoint, self.kept)

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = state


def test_a_checkpoint_with_other_bytes_than_it_promised_is_not_used(tmp_path: Path) -> None:
    for step in (3, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(b"moments")
        checkpoints.finish(folder, {})
    assert checkpoints.newest(tmp_path, remove_broken=False) == tmp_path / "checkpoint-6"
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"mom\0\0\0\0")
    assert checkpoints.newest(tmp_path, remove_broken=True) == tmp_path / "checkpoint-3"
    assert not (tmp_path / "checkpoint-6").exists()
