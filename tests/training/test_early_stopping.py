"""Which weights a fit ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.errors import TrainingFailed
from adapters.manifest import WEIGHTS_FILE
from tests.training import tiny
from tests.training.fit_once import dev_texts, fit_once
from training.evaluate.generate import Generated, Generator
from training.evaluate.metrics import chrf
from training.fit import checkpoints
from training.fit.dev_chrf import DevChrf
from training.fit.result import FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.fit.snapshots import Snapshots
from training.methods.config import LoraMethod

pytestmark = pytest.mark.train

SCHEDULE = {"epochs": 4, "batch_size": 6, "learning_rate": 2e-2, "evaluate_every": 2}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write_base(tmp_path / "base")


def weights_at(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2, 2), value), "b": torch.tensor([value], dtype=torch.float16)}


def test_the_mean_is_uniform_over_the_last_snapshots(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 3)
    for step, value in enumerate([100.0, 1.0, 2.0, 6.0], start=1):
        snapshots.offer(step, weights_at(value))
    assert snapshots.steps == (2, 3, 4)
    mean = snapshots.mean()
    assert torch.equal(mean["a"], torch.full((2, 2), 3.0))
    assert torch.equal(mean["b"], torch.tensor([3.0], dtype=torch.float16))


def test_the_best_snapshots_stay_whatever_comes_later(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 2)
    for step, value in enumerate([30.0, 50.0, 40.0, 10.0], start=1):
        snapshots.offer(step, weights_at(value), value)
    assert snapshots.steps == (2, 3)
    assert torch.equal(snapshots.mean()["a"], torch.full((2, 2), 45.0))


def test_files_of_the_checkpoint_before_stay_until_the_next_one(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 1)
    snapshots.offer(1, weights_at(1), 1.0)
    old = snapshots.state_dict()
    snapshots.offer(2, weights_at(2), 2.0)
    snapshots.state_dict()
    resumed = Snapshots(tmp_path, 1)
    resumed.load_state_dict(old)
    assert torch.equal(resumed.mean()["a"], torch.ones(2, 2))
    snapshots.state_dict()
    assert [f.name for f in tmp_path.iterdir()] == ["2.safetensors"]


def plant(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let dev be scored as given; what the weights were is kept in `seen`."""
    left = iter(scores)
    monkeypatch.setattr(DevChrf, "__call__", lambda self: next(left))


def stopped(base: Path, out: Path, rule: dict[str, Any], **more: Any) -> FitResult:
    return fit_once(base, out, {"rank": 4}, {**SCHEDULE, "early_stopping": rule, **more})


def test_a_fit_stops_after_its_patience_and_keeps_the_best_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, [10.0, 30.0, 20.0, 25.0, 99.0])
    result = stopped(base, tmp_path / "run", {"patience": 2})
    assert result.steps == 8
    assert result.dev_chrf == ((2, 10.0), (4, 30.0), (6, 20.0), (8, 25.0))
    assert result.kept_steps == (4,)
    # The learning rate falls over the whole plan, so the best weights are those of that plan.
    four = stopped_at_four(base, tmp_path / "four", monkeypatch)
    saved, wanted = (load_file(r.adapter_folder / WEIGHTS_FILE) for r in (result, four))
    assert all(torch.equal(saved[name], wanted[name]) for name in wanted)


def stopped_at_four(base: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> FitResult:
    plant(monkeypatch, [10.0, 30.0, 5.0])
    return stopped(base, out, {"patience": 1})


def test_early_stopping_by_loss_needs_no_translation(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, [])
    result = stopped(base, tmp_path / "run", {"metric": "loss"}, learning_rate=0.5)
    losses = dict(result.dev_losses)
    assert result.dev_chrf == ()
    assert result.kept_steps == (min(losses, key=lambda step: losses[step]),)


KINDS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "prefix": {"kind": "prefix", "tokens": 4},
    "prompt": {"kind": "prompt", "tokens": 4},
    "bottleneck": {"kind": "bottleneck", "size": 8},
    "full": {"kind": "full"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_translated_while_training_is_what_the_result_says(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[Generated]] = []
    generate = Generator.generate

    def listen(self: Generator, *arguments: Any, **options: Any) -> list[Generated]:
        said.append(generate(self, *arguments, **options))
        return said[-1]

    monkeypatch.setattr(Generator, "generate", listen)
    rule = {"early_stopping": {"patience": 50}, "evaluate_every": 4, "epochs": 2}
    result = fit_once(base, tmp_path / "run", KINDS[kind], {**SCHEDULE, **rule})
    (kept,) = result.kept_steps
    answers = dict(zip(dict(result.dev_chrf), said, strict=True))[kept]
    texts = dev_texts(base, tiny.lessons(base, 22)[:5])
    scored = chrf([answer.text for answer in answers], texts.references).value
    assert dict(result.dev_chrf)[kept] == scored
    generator = Generator.load(base, {"own": result.adapter_folder})
    asked: dict[str, Any] = {"stop_token_ids": texts.stop_token_ids, "max_tokens": texts.max_tokens}
    assert generate(generator, texts.prompts, adapter="own", **asked) == answers
    assert generate(generator, texts.prompts, adapter=None, **asked) != answers


def test_a_bf16_base_is_decoded_while_its_adapter_is_float32(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base", dtype=torch.bfloat16)
    result = stopped(base, tmp_path / "run", {"patience": 9}, evaluate_every=8)
    assert [step for step, _ in result.dev_chrf] == [8, 16]


def test_the_mean_of_the_last_checkpoints_is_what_is_saved(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    finish = checkpoints.finish

    def keep(folder: Path, kept: Any) -> None:
        file = folder / checkpoints.WEIGHTS_FILE
        seen[int(folder.name.rpartition("-")[2])] = load_file(file)
        finish(folder, kept)

    monkeypatch.setattr(checkpoints, "finish", keep)
    schedule = {**SCHEDULE, "save_every": 3, "average_checkpoints": 3}
    result = fit_once(base, tmp_path / "run", {"rank": 4}, schedule)
    assert result.kept_steps == (9, 12, 15, 16)[1:]
    saved = load_file(result.adapter_folder / WEIGHTS_FILE)
    for name, tensor in saved.items():
        parts = [seen[step][name.replace(".weight", ".default.weight")] for step in (12, 15, 16)]
        torch.testing.assert_close(tensor, sum(parts) / 3, rtol=1e-6, atol=1e-8)


def test_early_stopping_without_dev_is_refused(base: Path, tmp_path: Path) -> None:
    schedule = Schedule.model_validate({"early_stopping": {}})
    with pytest.raises(TrainingFailed, match=r"raise split\.dev"):
        fit(tiny.lessons(base), [], base, LoraMethod(), schedule, tmp_path / "run")


def test_dev_is_translated_with_dropout_in_a_run_of_half_precision(
    base: Path, tmp_path: Path
) -> None:
    method = {"rank": 4, "dropout": 0.1}
    schedule = {**SCHEDULE, "precision": "bf16", "max_steps": 2, "early_stopping": {"segments": 2}}
    result = fit_once(base, tmp_path / "run", method, schedule)
    assert [step for step, _ in result.dev_chrf] == [2]
