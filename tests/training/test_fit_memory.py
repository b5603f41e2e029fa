"""Out of memory: smaller passes, the same adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.errors import OutOfMemory
from tests.training import tiny
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.fit.trainer import LabelTrainer
from training.methods.config import LoraMethod

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

METHOD = LoraMethod(rank=4, alpha=8)
SCHEDULE = Schedule(epochs=1, batch_size=4, learning_rate=2e-2, warmup=0.0, max_steps=2)


def run_out_at(call: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the pass of that number run out of memory on the way back; return rows of each pass."""
    rows: list[int] = []
    compute = LabelTrainer.compute_loss

    def compute_loss(trainer: Any, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        loss = compute(trainer, model, inputs, *rest, **options)
        if len(rows) == call:
            # The first module's gradient comes last: the others' are added by then.
            first = next(iter(trainer.adapted.trainable().values()))
            handle = first.register_hook(lambda _: fail())

            def fail() -> None:
                handle.remove()
                raise torch.OutOfMemoryError("CUDA out of memory")

        return loss

    monkeypatch.setattr(LabelTrainer, "compute_loss", compute_loss)
    return rows


def train(base: Path, out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    schedule = SCHEDULE.model_copy(update=changes)
    result = fit(tiny.lessons(base, 16), [], base, METHOD, schedule, out)
    return load_file(result.adapter_folder / "adapter_model.safetensors")


@pytest.mark.parametrize(("accumulation", "call"), [(1, 1), (2, 2), (2, 3)])
def test_passes_that_do_not_fit_are_halved_and_the_adapter_stays_the_same(
    accumulation: int,
    call: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = tiny.write_base(tmp_path / "base")
    wanted = train(base, tmp_path / "whole", gradient_accumulation=accumulation)
    rows = run_out_at(call, monkeypatch)
    found = train(base, tmp_path / "halved", gradient_accumulation=accumulation)
    assert rows[:call] == [4] * call
    assert max(rows[call:]) == 2
    assert "the result stays the same" in capsys.readouterr().err
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)


def test_one_row_that_does_not_fit_ends_the_run_with_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write_base(tmp_path / "base")

    def compute_loss(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LabelTrainer, "compute_loss", compute_loss)
    with pytest.raises(OutOfMemory, match="gradient_checkpointing"):
        train(base, tmp_path / "run")
    assert capsys.readouterr().err.count("do not fit") == 2  # four rows, two rows
    assert not (tmp_path / "run" / "adapter").exists()
