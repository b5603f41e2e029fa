"""A base held in 4 or 8 bits while it is trained on, and served as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.evaluate.generate import Generator
from training.fit.result import FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.fit.trainer import LabelTrainer
from training.methods.attach import attach, load_base
from training.methods.config import LoraMethod
from training.methods.load import load

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

NF4 = LoraMethod(rank=4, alpha=8, quantize="nf4", targets=("q_proj", "v_proj", "up_proj"))
SCHEDULE = Schedule(
    epochs=2,
    batch_size=4,
    gradient_accumulation=2,
    learning_rate=2e-2,
    scheduler="cosine",
    optimizer="paged_adamw_8bit",
    gradient_checkpointing=True,
    evaluate_every=3,
    save_every=3,
)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A block of nf4 is 64 weights.
    wide = tiny._SIZES | {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    monkeypatch.setattr(tiny, "_SIZES", wide)
    return tiny.write_base(tmp_path / "base", dtype=torch.bfloat16)


def train(base: Path, out: Path, method: LoraMethod = NF4, **options: Any) -> FitResult:
    schedule = SCHEDULE.model_copy(update=options.pop("schedule", {}))
    rows = tiny.lessons(base)
    return fit(rows, rows[:5], base, method, schedule, out, **options)


def test_an_nf4_base_is_trained_on_resumed_and_its_adapter_is_a_plain_lora(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(base, tmp_path / "run", schedule={"max_steps": 3})
    result = train(base, tmp_path / "run", resume=True)
    assert (first.steps, result.steps) == (3, 6)
    assert result.dev_losses[-1][1] < first.dev_losses[0][1]
    assert "plain AdamW" in capsys.readouterr().err
    config = json.loads((result.adapter_folder / "adapter_config.json").read_text())
    assert "quantization_config" not in config
    weights = load_file(result.adapter_folder / "adapter_model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.bfloat16}
    plain = load_base(base, LoraMethod())
    adapted = PeftModel.from_pretrained(plain, str(result.adapter_folder))
    assert adapted(input_ids=torch.tensor([[fakes.BOS, 40]])).logits.isfinite().all()


def test_what_is_trained_on_an_nf4_base_is_float32(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[torch.dtype], str]] = []
    begin = LabelTrainer.train

    def look(trainer: LabelTrainer, **options: Any) -> Any:
        dtypes = {p.dtype for p in trainer.adapted.trainable().values()}
        layer: Any = trainer.adapted.base.get_submodule("model.layers.0.mlp.down_proj")
        seen.append((dtypes, type(layer).__name__))
        return begin(trainer, **options)

    monkeypatch.setattr(LabelTrainer, "train", look)
    train(base, tmp_path / "run", schedule={"max_steps": 1})
    assert seen == [({torch.float32}, "Linear4bit")]


@pytest.mark.parametrize("quantize", ["nf4", "int8"])
def test_a_measurement_leaves_the_gradients_as_they_were(base: Path, quantize: Any) -> None:
    method = NF4.model_copy(update={"quantize": quantize})
    model: Any = attach(load_base(base, method), method).model
    # Both factors away from zero, so that each has a gradient.
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(3, 40, (2, 12))

    def gradients() -> dict[str, torch.Tensor]:
        model.train().zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}

    before = gradients()
    with torch.inference_mode():
        model.eval()(input_ids=ids)
    after = gradients()
    for name, gradient in before.items():
        assert gradient.any(), name
        torch.testing.assert_close(after[name], gradient, msg=name)


def test_an_int8_base_is_trained_on_as_well(base: Path, tmp_path: Path) -> None:
    int8 = NF4.model_copy(update={"quantize": "int8"})
    result = train(base, tmp_path / "run", int8)
    losses = [loss for _, loss in result.dev_losses]
    assert losses[-1] < losses[0]


def test_the_evaluation_is_on_the_base_as_it_is_served(base: Path, tmp_path: Path) -> None:
    result = train(base, tmp_path / "run", schedule={"max_steps": 1})
    model = load(base, result.adapter_folder).tuned
    assert getattr(model.config, "quantization_config", None) is None
    held = {type(m.base_layer) for m in model.modules() if hasattr(m, "base_layer")}
    assert held == {nn.Linear}
    floats = {p.dtype for p in model.parameters()}
    assert floats == {torch.bfloat16}
    generator = Generator.load(base, {"candidate": result.adapter_folder})
    answers = generator.generate(
        [fakes.prompt_format().encode("run", tiny.PAIR, BaseTokenizer.load(base))],
        stop_token_ids=[fakes.END],
        max_tokens=[2],
        adapter="candidate",
    )
    assert len(answers) == 1
