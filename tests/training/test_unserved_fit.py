"""What is not a LoRA trains through the same fit: checkpoints, precision, whole runs."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from typer.testing import CliRunner

import dragoman
from adapters.errors import TrainingFailed
from tests.training import tiny
from tests.training.conftest import RECIPE
from training.fit.checkpoints import WEIGHTS_FILE
from training.fit.label_loss import can_score_labels_only
from training.fit.result import FitProgress, FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.attach import attach, load_base
from training.methods.config import Method
from training.methods.rates import learning_rate_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

SCHEDULE = Schedule(epochs=2, batch_size=4, warmup=0.0, save_every=4, evaluate_every=6)
KINDS: dict[str, dict[str, Any]] = {
    "ia3": {"kind": "ia3"},
    "loha": {"kind": "loha"},
    "lokr": {"kind": "lokr", "factor": 4},
    "adalora": {"kind": "adalora"},
    "prefix": {"kind": "prefix", "tokens": 4},
    "prompt": {"kind": "prompt", "tokens": 4},
    "bottleneck": {"kind": "bottleneck", "size": 8},
    "full": {"kind": "full"},
}


def train(base: Path, out: Path, body: dict[str, Any], **options: Any) -> FitResult:
    schedule = SCHEDULE.model_copy(update=options.pop("schedule", {}))
    method: Method = TypeAdapter(Method).validate_python(body)
    return fit(tiny.lessons(base), [], base, method, schedule, out, **options)


def weights(result: FitResult) -> dict[str, torch.Tensor]:
    return load_file(next(result.adapter_folder.glob("*.safetensors")))


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["prefix", "full"])
def test_an_interrupted_run_resumes_to_the_weights_of_an_unbroken_one(
    name: str, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base")
    unbroken = train(base, tmp_path / "unbroken", KINDS[name])

    def interrupt(progress: FitProgress) -> None:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "run", KINDS[name], on_progress=interrupt)
    told: list[FitProgress] = []
    resumed = train(base, tmp_path / "run", KINDS[name], resume=True, on_progress=told.append)
    assert told[0].step == 8
    assert_equal(weights(resumed), weights(unbroken))


def test_a_checkpoint_holds_no_frozen_weight(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    train(base, tmp_path / "run", KINDS["bottleneck"])
    (kept,) = (tmp_path / "run" / "checkpoints" / "checkpoint-12").glob("*.safetensors")
    assert kept.name == WEIGHTS_FILE
    assert all("bottleneck" in name for name in load_file(kept))


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    train(base, tmp_path / "run", KINDS["bottleneck"], schedule={"max_steps": 4})
    with pytest.raises(TrainingFailed, match="leave out --resume"):
        train(base, tmp_path / "run", KINDS["full"], resume=True)


@pytest.mark.parametrize("name", ["prompt", "bottleneck", "full"])
def test_recomputing_activations_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    plain = train(base, tmp_path / "plain", KINDS[name])
    thrifty = {"gradient_checkpointing": True}
    assert_equal(
        weights(plain), weights(train(base, tmp_path / "thrifty", KINDS[name], schedule=thrifty))
    )


@pytest.mark.parametrize("name", ["prefix", "prompt", "bottleneck", "full"])
def test_trls_own_loss_gives_the_same_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write_base(tmp_path / "base", "gemma")
    ours = train(base, tmp_path / "ours", KINDS[name])
    # As on a GPU, where TRL scores labels only by itself.
    monkeypatch.setattr("training.fit.trainer.can_score_labels_only", lambda _: False)
    assert_equal(weights(ours), weights(train(base, tmp_path / "trl", KINDS[name])))


@pytest.mark.parametrize("embeddings", [False, True])
def test_full_fine_tuning_of_a_bf16_base_trains_in_float32(
    embeddings: bool, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base", "gemma", dtype=torch.bfloat16)
    body = {"kind": "full", "embeddings": embeddings}
    method: Method = TypeAdapter(Method).validate_python(body)
    adapted = attach(load_base(base, method), method)
    assert {p.dtype for p in adapted.trainable().values()} == {torch.float32}
    # The head is the embedding: trained, its gradient is what the loss of labels alone leaves out.
    assert can_score_labels_only(adapted.base) is not embeddings
    result = train(base, tmp_path / "run", body, schedule={"learning_rate": 3e-3})
    assert result.losses[-1][1] < result.losses[0][1] - 0.05
    before, after = load_file(base / "model.safetensors"), weights(result)
    assert before.keys() == after.keys()
    assert {t.dtype for t in after.values()} == {torch.bfloat16}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("q_proj" in name for name in moved)
    assert any("embed_tokens" in name for name in moved) is embeddings


SAID = {
    "prefix": "served not at all: vLLM has no keys and values of virtual tokens",
    "prompt": "served not at all: vLLM has no virtual tokens",
    "bottleneck": "served not at all: vLLM has no layers of an adapter's own",
    "full": "a model of its own: dragoman serve --base",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_run_measures_every_kind_and_says_how_it_can_be_used(
    name: str, tmp_path: Path, recipe_file: Path
) -> None:
    base = tiny.write_base(tmp_path / "tiny-model", max_position_embeddings=512)
    text = RECIPE.replace("BASE", str(base)).replace("shots: 3", "shots: 1")
    recipe_file.write_text(text, encoding="utf-8")
    changes = {f"method.{key}": value for key, value in KINDS[name].items()}
    changes["schedule.max_steps"] = 6
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    folders = ["--registry", str(tmp_path / "registry"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(
        dragoman.build_app(), ["train", str(recipe_file), *folders, *sets], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert SAID.get(name, "do it with: dragoman train … --resume --publish") in result.output
    method: Method = TypeAdapter(Method).validate_python(KINDS[name])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["method"] == name
    assert summary["learning_rate"] == learning_rate_of(method)
    card = (tmp_path / "run" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert f"{name}, " in card
