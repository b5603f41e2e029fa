"""Preferences through the same fit as translations: learning, resume, and where training starts."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.errors import TrainingFailed
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.corpus.segment import Segment
from training.encode import Encoded, Encoder
from training.fit.result import FitProgress, FitResult
from training.fit.run import fit
from training.fit.schedule import EarlyStopping, Schedule
from training.methods.config import LoraMethod
from training.objective import Cpo, Dpo, Sft
from training.objectives.encoded_preference import EncodedPreference, encode_preferences

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

METHOD = LoraMethod(rank=4, alpha=8)
SCHEDULE = Schedule(
    epochs=2, batch_size=4, learning_rate=1e-2, warmup=0.0, save_every=4, evaluate_every=6
)
DPO = Dpo(kind="dpo", beta=0.5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write_base(tmp_path / "base-folder")


def preferences(base: Path) -> list[EncodedPreference]:
    """Return pairs in which capitals are preferred."""
    encoder = Encoder(fakes.prompt_format(), tiny.PAIR, BaseTokenizer.load(base), max_length=200)
    words = ("open", "close", "save it", "run", "move the cell", "stop")
    segments = [Segment(w, w.upper(), "", "", 1, rejected=w[::-1]) for w in words * 4]
    rows, too_long = encode_preferences(encoder, segments)
    assert not too_long
    return rows


def train(base: Path, out: Path, **options: Any) -> FitResult:
    rows, schedule = preferences(base), options.pop("schedule", SCHEDULE)
    return fit(rows, rows[:6], base, METHOD, schedule, out, **{"objective": DPO, **options})


def weights(result: FitResult) -> dict[str, torch.Tensor]:
    return load_file(result.adapter_folder / "adapter_model.safetensors")


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", [DPO, Cpo(kind="cpo")], ids=["dpo", "cpo"])
def test_preferences_are_learnt(objective: Any, base: Path, tmp_path: Path) -> None:
    result = train(base, tmp_path / "run", objective=objective)
    steps, shares, margins = zip(*result.preferences, strict=True)
    assert steps == (0, 6, 12)
    assert margins[-1] > margins[0]
    assert shares[-1] > shares[0]
    assert result.dev_losses[-1][1] < result.dev_losses[0][1]
    assert result.tokens == 2 * sum(
        len(side) for row in preferences(base) for side in (row.chosen, row.rejected)
    )


def test_an_interrupted_run_of_preferences_resumes_to_the_adapter_of_an_unbroken_one(
    base: Path, tmp_path: Path
) -> None:
    unbroken = train(base, tmp_path / "unbroken")

    def interrupt(progress: FitProgress) -> None:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "run", on_progress=interrupt)
    resumed = train(base, tmp_path / "run", resume=True)
    assert_equal(weights(resumed), weights(unbroken))
    assert [step for step, _, _ in resumed.preferences] == [0, 6, 12]
    assert resumed.preferences[-1] == pytest.approx(unbroken.preferences[-1], rel=1e-3)


def test_the_measurement_before_training_is_not_among_the_best(base: Path, tmp_path: Path) -> None:
    rule = EarlyStopping(metric="loss", patience=9)
    schedule = SCHEDULE.model_copy(update={"early_stopping": rule, "learning_rate": 0.5})
    result = train(base, tmp_path / "run", schedule=schedule)
    losses = dict(result.dev_losses)
    del losses[0]
    assert result.kept_steps == (min(losses, key=lambda step: losses[step]),)


def test_small_passes_keep_pairs_together(base: Path, tmp_path: Path) -> None:
    parts = SCHEDULE.model_copy(update={"tokens_per_pass": 64})
    one = train(base, tmp_path / "one")
    assert_equal(weights(one), weights(train(base, tmp_path / "two", schedule=parts)))


def test_accumulated_batches_count_as_one(base: Path, tmp_path: Path) -> None:
    halves = {"batch_size": 2, "gradient_accumulation": 2, "max_steps": 1, "evaluate_every": 1}
    whole = {"max_steps": 1, "evaluate_every": 1}
    row = preferences(base)[0]
    found = []
    for name, update in (("whole", whole), ("halves", halves)):
        schedule = SCHEDULE.model_copy(update=update)
        result = fit([row] * 4, [row], base, METHOD, schedule, tmp_path / name, objective=DPO)
        found.append(result)
    assert_equal(weights(found[0]), weights(found[1]))


def test_training_goes_on_from_an_adapter(base: Path, tmp_path: Path) -> None:
    rows = tiny.lessons(base)
    first = fit(rows, rows[:5], base, METHOD, SCHEDULE, tmp_path / "sft")
    result = train(base, tmp_path / "dpo", start=first.adapter_folder)
    fresh = train(base, tmp_path / "fresh")
    # The lessons of the first are the chosen side of the second.
    assert result.preferences[0][1] > fresh.preferences[0][1]
    assert result.preferences[0][2] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("objective", [DPO, Sft(kl_to_base=0.1)], ids=["dpo", "kl"])
def test_a_base_in_bf16_is_trained_as_it_is(objective: Any, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base-folder", "gemma", dtype=torch.bfloat16)
    rows = preferences(base) if objective is DPO else tiny.lessons(base)
    result = fit(rows, rows[:6], base, METHOD, SCHEDULE, tmp_path / "run", objective=objective)
    assert result.dev_losses[-1][1] < result.dev_losses[0][1]
    assert {tensor.dtype for tensor in weights(result).values()} == {torch.bfloat16}


def test_a_start_of_another_method_is_refused(base: Path, tmp_path: Path) -> None:
    folder = train(base, tmp_path / "run").adapter_folder
    other = METHOD.model_copy(update={"alpha": 16.0})
    rows = preferences(base)
    with pytest.raises(TrainingFailed, match=r"lora_alpha 8.0 there, 16.0 in this recipe"):
        fit(rows, [], base, other, SCHEDULE, tmp_path / "a", objective=DPO, start=folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = sorted(tensors)[0]
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "adapter_model.safetensors")
    with pytest.raises(TrainingFailed, match="1 tensors"):
        fit(rows, [], base, METHOD, SCHEDULE, tmp_path / "b", objective=DPO, start=folder)
    with pytest.raises(TrainingFailed, match="no adapter to start from"):
        fit(rows, [], base, METHOD, SCHEDULE, tmp_path / "c", objective=DPO, start=tmp_path)


def test_divergence_holds_the_adapter_to_its_base(base: Path, tmp_path: Path) -> None:
    rows = tiny.lessons(base)
    ended = []
    for weight in (0.01, 100.0):
        objective = Sft(kl_to_base=weight)
        out = tmp_path / f"run{weight}"
        fit(rows, rows[:5], base, METHOD, SCHEDULE, out, objective=objective)
        state = json.loads((out / "checkpoints/checkpoint-12/trainer_state.json").read_text())
        told = [entry["kl_to_base"] for entry in state["log_history"] if "kl_to_base" in entry]
        ended.append(told[-1])
    assert 0 < ended[1] < ended[0] / 2


def test_rows_with_a_label_at_every_token_train_as_others_do(base: Path, tmp_path: Path) -> None:
    # Monolingual text: no prompt. The first token has nothing before it to predict it from; the
    # long row is a pass of its own, since a row is never divided.
    texts = [row.input_ids for row in tiny.lessons(base, 8)]
    rows = [Encoded((), tuple(ids)) for ids in [*texts, texts[0] * 4]]
    assert len(rows[-1]) > 64
    found = []
    for size in (64, 4096):
        schedule = SCHEDULE.model_copy(update={"tokens_per_pass": size, "epochs": 4.0})
        found.append(fit(rows, rows, base, METHOD, schedule, tmp_path / str(size)))
    assert found[0].dev_losses[-1][1] < found[0].dev_losses[0][1]
    assert_equal(weights(found[0]), weights(found[1]))
