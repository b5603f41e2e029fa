"""What cannot be served as it was trained becomes a plain LoRA that says what it lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from adapters.errors import (
    BaseModelError,
    ConversionTooLossy,
    ShapeMismatch,
    UnsupportedAdapter,
)
from adapters.verify import read_peft_config, verify_tensors
from tests.training import tiny
from tests.training.test_methods import METHODS, parse
from training.fit.result import FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.conversion import check_conversion
from training.methods.convert import convert, served_rank
from training.methods.divergence import log_probs
from training.methods.served import Way

pytestmark = pytest.mark.train

SCHEDULE = Schedule(
    epochs=2, batch_size=4, learning_rate=2e-2, warmup=0.0, evaluate_every=50, save_every=50
)
EXACT = ("pissa", "olora", "corda", "adalora", "loha", "lokr")


@dataclass(frozen=True)
class Trained:
    base: Path
    run: Path
    result: FitResult
    log_probs: list[Tensor]  # of the method itself, of the LoRA, of the base

    @property
    def trained(self) -> Path:
        return self.run / "trained"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(name: str, folder: Path, kind: str = "llama", rate: float = 2e-2, **base: Any) -> Trained:
    written = tiny.write_base(folder / "base", kind, **base)
    rows = tiny.lessons(written)
    found: list[Tensor] = []

    def recorded(model: Any, rows: Any) -> Tensor:
        found.append(log_probs(model, rows))
        return found[-1]

    method, run = parse(METHODS[name]), folder / "run"
    schedule = SCHEDULE.model_copy(update={"learning_rate": rate})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit.handover.log_probs", recorded)
        result = fit(rows, rows[:5], written, method, schedule, run)
    return Trained(written, run, result, found)


@pytest.fixture(scope="module")
def dora(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train("dora", tmp_path_factory.mktemp("dora"))


@pytest.fixture(scope="module")
def pissa(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    # Slowly, as in earnest: what is learnt is small beside what it starts from.
    return train("pissa", tmp_path_factory.mktemp("pissa"), rate=5e-4)


@pytest.fixture(scope="module")
def ia3(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train("ia3", tmp_path_factory.mktemp("ia3"), rate=0.5)


def weights_of(folder: Path, adapter: Path | None = None) -> dict[str, Tensor]:
    """Return the weights of a model, the adapter merged into them by PEFT."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return dict(model.state_dict())


def relative_error(base: Path, wanted: Path, found: Path) -> float:
    """Return how far the weights with `found` are from those with `wanted`, by its change."""
    begin, target, made = weights_of(base), weights_of(base, wanted), weights_of(base, found)
    lost = sum(float((target[n] - made[n]).square().sum()) for n in begin)
    whole = sum(float((target[n] - begin[n]).square().sum()) for n in begin)
    return float((lost / whole) ** 0.5)


# The algebra is the same on every base; two kinds show that the names are.
@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "llama") for name in EXACT), ("pissa", "gemma"), ("lokr", "gemma")],
)
def test_an_exact_conversion_gives_the_logits_of_the_method_itself(
    name: str, kind: str, tmp_path: Path
) -> None:
    it = train(name, tmp_path, kind)
    own, converted, base = it.log_probs
    assert float((own - base).abs().max()) > 1e-2, "nothing was learnt that could be lost"
    assert float((own - converted).abs().max()) < 1e-5
    conversion = it.result.conversion
    assert conversion is not None
    assert conversion.way == Way.EXACTLY
    assert conversion.error_max < 1e-5
    assert conversion.logit_error == pytest.approx(0, abs=1e-6)
    config = read_peft_config(it.result.adapter_folder)
    weights = it.result.adapter_folder / "adapter_model.safetensors"
    assert verify_tensors(weights, config, base=it.base) == conversion.rank


def test_what_is_served_directly_is_not_converted(tmp_path: Path) -> None:
    it = train("rslora", tmp_path)
    assert it.result.conversion is None
    assert not it.trained.exists()


def test_the_error_of_a_lossy_conversion_is_the_one_that_merged_weights_show(
    dora: Trained, ia3: Trained, tmp_path: Path
) -> None:
    for it, rank in ((dora, 3), (dora, 16), (ia3, 8)):
        conversion = convert(it.trained, it.base, tmp_path / "lora", rank=rank)
        measured = relative_error(it.base, it.trained, tmp_path / "lora")
        assert conversion.way == Way.LOSSY
        assert conversion.rank == rank
        assert conversion.error == pytest.approx(measured, rel=1e-3)
        assert conversion.error_max >= conversion.error > 0.01


def test_a_higher_rank_loses_less_until_nothing_is_lost(ia3: Trained, tmp_path: Path) -> None:
    errors = [
        convert(ia3.trained, ia3.base, tmp_path / "lora", rank=rank).error for rank in (1, 8, 32)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_a_lossy_conversion_is_measured_on_answers_as_well(dora: Trained) -> None:
    conversion = dora.result.conversion
    assert conversion is not None
    assert conversion.rank == served_rank(4 * 4) == 16
    assert conversion.logit_error is not None
    assert conversion.base_logit_error is not None
    own, converted = (values.double() for values in dora.log_probs[:2])
    kl = (own.exp() * (own - converted)).sum(-1).mean()
    assert conversion.logit_error == pytest.approx(float(kl), rel=0.05, abs=1e-7)
    assert 0 < conversion.logit_error < conversion.base_logit_error


@pytest.mark.parametrize("name", ["dora", "pissa"])
def test_pefts_own_converter_loses_what_ours_keeps(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """If this fails: PEFT mended `convert_to_lora`; look whether ours can go."""
    it: Trained = request.getfixturevalue(name)
    base: Any = AutoModelForCausalLM.from_pretrained(it.base)
    model = peft.PeftModel.from_pretrained(base, str(it.trained))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    peft.save_as_lora(tmp_path / "theirs", model, rank=16)
    theirs = relative_error(it.base, it.trained, tmp_path / "theirs")
    convert(it.trained, it.base, tmp_path / "ours", rank=16)
    ours = relative_error(it.base, it.trained, tmp_path / "ours")
    if name == "dora":
        assert theirs > 2 * ours
    else:
        # PEFT measures from what is left of the base; nobody serves that.
        assert ours < 1e-3
        assert theirs > 0.5


def test_bf16_keeps_the_difference_of_two_products(tmp_path: Path) -> None:
    it = train("pissa", tmp_path, rate=5e-4, dtype=torch.bfloat16)
    conversion = it.result.conversion
    assert conversion is not None
    tensors = load_file(it.result.adapter_folder / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    assert conversion.error < 1e-5
    assert 1e-5 < conversion.error_saved < 0.01
    # Written as [B, -B0] [A; A0], the rounding alone is a multiple of this.
    trained, begun = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (it.trained, it.trained / "begun")
    )
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    A, B, A0, B0 = (t[name.format(s)] for t in (trained, begun) for s in "AB")
    B = B * 8  # alpha 32 / rank 4
    delta = B @ A - B0 @ A0
    plain = torch.cat([B, -B0], 1).bfloat16().float() @ torch.cat([A, A0]).bfloat16().float()
    assert float((plain - delta).norm() / delta.norm()) > 3 * conversion.error_saved


def test_the_initial_adapter_can_be_named_and_must_not_be_missing(
    pissa: Trained, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(pissa.trained, alone)
    shutil.move(alone / "begun", tmp_path / "initial")
    with pytest.raises(UnsupportedAdapter, match="--begun"):
        convert(alone, pissa.base, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert(alone, pissa.base, tmp_path / "out", begun=tmp_path / "initial")
    made, before = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "out", pissa.result.adapter_folder)
    )
    assert all(torch.equal(made[name], before[name]) for name in before)


def test_too_lossy_is_refused_with_what_to_do(dora: Trained) -> None:
    conversion = dora.result.conversion
    assert conversion is not None
    check_conversion(conversion, 0.9, trained="run/trained")
    with pytest.raises(ConversionTooLossy, match=r"at most 1% .*--rank.*adapters merge"):
        check_conversion(conversion, 0.01, trained="run/trained")


def test_a_folder_of_another_kind_or_base_is_refused(dora: Trained, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(dora.trained, odd)
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "VERA"}))
    with pytest.raises(UnsupportedAdapter, match="VERA"):
        convert(odd, dora.base, tmp_path / "out")
    (odd / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["norm"]}))
    with pytest.raises(UnsupportedAdapter, match="modules_to_save"):
        convert(odd, dora.base, tmp_path / "out")
    other = tiny.write_base(tmp_path / "other", hidden_size=64)
    with pytest.raises(ShapeMismatch, match="another base"):
        convert(dora.trained, other, tmp_path / "out")
    path = other / "config.json"
    packed = {**json.loads(path.read_text()), "quantization_config": {"quant_method": "awq"}}
    path.write_text(json.dumps(packed))
    with pytest.raises(BaseModelError, match="awq"):
        convert(dora.trained, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
