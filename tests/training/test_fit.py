from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.errors import TrainingFailed
from adapters.manifest import WEIGHTS_FILE
from tests.training import tiny
from training.fit.batches import LengthGrouped
from training.fit.result import FitProgress, FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.attach import Adapted
from training.methods.config import LoraMethod

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

METHOD = LoraMethod(rank=4, alpha=8)
SCHEDULE = Schedule(
    epochs=2, batch_size=4, learning_rate=2e-2, warmup=0.0, save_every=4, evaluate_every=6
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write_base(tmp_path / "base-folder")


def train(base: Path, out: Path, **options: Any) -> FitResult:
    schedule = options.pop("schedule", SCHEDULE)
    rows = tiny.lessons(base)
    return fit(rows, rows[:5], base, METHOD, schedule, out, **options)


def weights(result: FitResult) -> dict[str, torch.Tensor]:
    return load_file(result.adapter_folder / "adapter_model.safetensors")


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5)


def test_a_fit_learns_and_writes_a_servable_adapter_and_nothing_else(
    base: Path, tmp_path: Path
) -> None:
    told: list[FitProgress] = []
    result = train(base, tmp_path / "run", on_progress=told.append)
    assert sorted(f.name for f in result.adapter_folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((result.adapter_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["inference_mode"] is True
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len(result.target_modules) == 7
    assert result.losses[-1][1] < result.losses[0][1]
    assert [step for step, _ in result.dev_losses] == [6, 12]
    assert [p.step for p in told] == list(range(1, 13))
    assert told[-1].total_steps == result.steps == 12
    assert result.tokens == 2 * sum(len(row) for row in tiny.lessons(base))
    assert result.tok_s > 0
    assert result.trainable_parameters == sum(t.numel() for t in weights(result).values())
    assert result.versions["trl"].startswith("1.")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    base: Path, tmp_path: Path
) -> None:
    seeds = {"one": 3, "two": 3, "other": 4}
    short = SCHEDULE.model_copy(update={"max_steps": 3})
    one, two, other = (
        (train(base, tmp_path / name, schedule=short, seed=seed).adapter_folder / WEIGHTS_FILE)
        for name, seed in seeds.items()
    )
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != other.read_bytes()


def test_small_passes_give_the_same_adapter_as_whole_batches(base: Path, tmp_path: Path) -> None:
    parts = SCHEDULE.model_copy(update={"tokens_per_pass": 64})
    one = train(base, tmp_path / "one")
    assert_equal(weights(one), weights(train(base, tmp_path / "two", schedule=parts)))


def test_an_interrupted_run_resumes_to_the_adapter_of_an_unbroken_one(
    base: Path, tmp_path: Path
) -> None:
    unbroken = train(base, tmp_path / "unbroken")

    def interrupt(progress: FitProgress) -> None:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "run", on_progress=interrupt)
    assert not (tmp_path / "run" / "adapter").exists()
    told: list[FitProgress] = []
    resumed = train(base, tmp_path / "run", resume=True, on_progress=told.append)
    assert told[0].step > 7
    assert resumed.tokens == unbroken.tokens
    assert_equal(weights(resumed), weights(unbroken))


def test_without_resume_a_run_starts_anew(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "run")
    told: list[FitProgress] = []
    train(base, tmp_path / "run", on_progress=told.append)
    assert told[0].step == 1


def test_a_run_ends_after_its_steps_or_its_seconds(base: Path, tmp_path: Path) -> None:
    steps = train(base, tmp_path / "a", schedule=SCHEDULE.model_copy(update={"max_steps": 3}))
    seconds = SCHEDULE.model_copy(update={"max_seconds": 1e-6})
    late = train(base, tmp_path / "b", schedule=seconds)
    assert (steps.steps, late.steps) == (3, 1)
    assert late.dev_losses


def test_a_run_without_dev_text_has_no_losses_on_dev(base: Path, tmp_path: Path) -> None:
    schedule = SCHEDULE.model_copy(update={"max_steps": 2})
    result = fit(tiny.lessons(base), [], base, METHOD, schedule, tmp_path / "run")
    assert result.dev_losses == ()


def test_a_bf16_base_keeps_float32_adapters_and_saves_them_as_bf16(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base", "gemma", dtype=torch.bfloat16)
    result = train(base, tmp_path / "run")
    assert {t.dtype for t in weights(result).values()} == {torch.bfloat16}
    assert result.losses[-1][1] < result.losses[0][1]


def test_weights_that_are_not_finite_are_no_adapter(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(_: Adapted) -> dict[str, torch.nn.Parameter]:
        return {"lora_A": torch.nn.Parameter(torch.tensor([float("nan")]))}

    monkeypatch.setattr(Adapted, "trainable", spoil)
    with pytest.raises(TrainingFailed, match=r"lower schedule\.learning_rate"):
        train(base, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


def test_nothing_to_train_on_is_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="no segment"):
        fit([], [], tmp_path, METHOD, SCHEDULE, tmp_path / "run")


def test_batches_are_of_like_length_and_each_row_comes_once() -> None:
    lengths = [i % 40 + 1 for i in range(403)]
    sampler = LengthGrouped(lengths, 8, seed=0)
    order = list(sampler)
    assert sorted(order) == list(range(403))
    widths = [[lengths[i] for i in order[s : s + 8]] for s in range(0, 400, 8)]
    assert sum(max(w) - min(w) for w in widths) / len(widths) < 3
    assert [max(w) for w in widths] != sorted(max(w) for w in widths)


def test_each_epoch_has_its_own_order_and_a_seed_repeats_them() -> None:
    def orders(seed: int) -> list[list[int]]:
        sampler = LengthGrouped(list(range(50)), 4, seed=seed)
        found = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found.append(list(sampler))
        return found

    first, second = orders(0)
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1) != [first, second]


def test_stages_come_one_after_another_and_no_row_is_lost() -> None:
    lengths = [i % 7 + 1 for i in range(100)]
    order = list(LengthGrouped(lengths, 8, seed=0, stages=(30, 50, 20)))
    assert sorted(order) == list(range(100))
    # What is left of a stage after its whole batches begins the next one.
    assert set(order[:24]) <= set(range(30))
    assert set(order[24:80]) <= set(range(80))
    assert order[:24] != sorted(order[:24])
    assert list(LengthGrouped(lengths, 8, seed=0)) == list(
        LengthGrouped(lengths, 8, seed=0, stages=(100,))
    )
