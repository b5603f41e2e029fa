from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import TrainingFailed
from training.fit.guard import MAX_IN_A_ROW, Guard


def guard(said: list[str]) -> Guard:
    return Guard(said.append, advice="lower it")


def test_a_step_without_finite_loss_or_gradient_is_left_out_and_counted() -> None:
    said: list[str] = []
    judge = guard(said)
    taken = [
        judge.accepts(1, 1.0, 0.5),
        judge.accepts(2, math.nan, 0.5),
        judge.accepts(3, 1.0, math.inf),
        judge.accepts(4, 1.0, 0.5),
    ]
    assert taken == [True, False, False, True]
    assert judge.skipped == 2
    assert ["step 2" in said[0], "loss" in said[0], "gradient" in said[1]] == [True] * 3


def test_steps_left_out_in_a_row_end_the_run_with_what_to_do() -> None:
    judge = guard([])
    for step in range(MAX_IN_A_ROW):
        assert not judge.accepts(step, math.nan, 1.0)
    with pytest.raises(TrainingFailed, match="6 steps in a row, up to step 9; lower it"):
        judge.accepts(9, math.nan, 1.0)


def test_a_jump_of_the_loss_is_noted_and_the_step_taken() -> None:
    said: list[str] = []
    judge = guard(said)
    for step in range(1, 21):
        assert judge.accepts(step, 1.0 + 0.1 * (step % 2), 1.0)
    assert judge.accepts(21, 2.5, 1.0)
    assert judge.accepts(22, 1.3, 1.0)  # over three sigmas, but not twice the median
    assert judge.spikes == [21]
    assert "2.50 in step 21, usual is 1.05" in said[0]


def test_a_guard_goes_on_where_its_state_was_written() -> None:
    one, other = guard([]), guard([])
    for step in range(1, 12):
        one.accepts(step, 1.0, 1.0)
    one.accepts(12, math.nan, 1.0)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    other.accepts(13, 9.0, 1.0)
    assert (other.skipped, other.spikes) == (1, [13])


def spoil(monkeypatch: pytest.MonkeyPatch, steps: range) -> None:
    from training.fit.trainer import LabelTrainer

    compute = LabelTrainer.compute_loss

    def spoilt(self: Any, *arguments: Any, **options: Any) -> Any:
        loss = compute(self, *arguments, **options)
        training = self.adapted.model.training and self.state.global_step + 1 in steps
        return loss * math.nan if training else loss

    monkeypatch.setattr(LabelTrainer, "compute_loss", spoilt)


@pytest.mark.train
@pytest.mark.parametrize("method", [{"rank": 4}, {"kind": "adalora", "rank": 2, "start_rank": 4}])
def test_a_fit_goes_on_over_a_planted_nan(
    method: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training import tiny
    from tests.training.fit_once import fit_once

    spoil(monkeypatch, range(4, 6))
    base = tiny.write_base(tmp_path / "base")
    schedule = {"epochs": 3, "batch_size": 6, "learning_rate": 2e-2, "evaluate_every": 4}
    result = fit_once(base, tmp_path / "run", method, schedule)
    assert (result.skipped, result.steps) == (2, 12)
    assert result.dev_losses[-1][1] < result.dev_losses[0][1]
    assert (tmp_path / "run" / "train.log").read_text().count("left out, its loss") == 2
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any(json.loads(row).get("grad_norm", 0) is None for row in rows)


@pytest.mark.train
def test_a_fit_that_stays_nan_stops_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training import tiny
    from tests.training.fit_once import fit_once
    from training.fit import checkpoints

    spoil(monkeypatch, range(5, 99))
    base = tiny.write_base(tmp_path / "base")
    schedule = {"epochs": 9, "batch_size": 6, "learning_rate": 0.02, "save_every": 4}
    with pytest.raises(TrainingFailed, match=r"lower schedule\.learning_rate, found 0\.02"):
        fit_once(base, tmp_path / "run", {"rank": 4}, schedule)
    kept = checkpoints.newest(tmp_path / "run" / "checkpoints", remove_broken=False)
    assert kept is not None
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.train
def test_weights_that_are_not_finite_make_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training import tiny
    from tests.training.fit_once import fit_once
    from training.fit.trainer import LabelTrainer

    monkeypatch.setattr(LabelTrainer, "_is_finite", lambda self: self.state.global_step < 4)
    base = tiny.write_base(tmp_path / "base")
    schedule = {"epochs": 2, "batch_size": 6, "save_every": 2}
    fit_once(base, tmp_path / "run", {"rank": 4}, schedule)
    names = [f.name for f in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names == ["checkpoint-2"]
