from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests import fakes
from tests.training import tiny
from training.fit.fused_lora import fuse_lora

pytestmark = pytest.mark.train

LAYERS = 2 * 7


def adapted(kind: str = "llama", **options: Any) -> Any:
    settings = {"target_modules": "all-linear", "init_lora_weights": False, **options}
    model = get_peft_model(tiny.model(kind), LoraConfig(task_type="CAUSAL_LM", r=4, **settings))
    for name, parameter in model.named_parameters():
        if name.endswith("proj.base_layer.bias"):
            torch.nn.init.normal_(parameter)
    return model


def trained(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the logits, and the gradients of the sum of their squares."""
    model.zero_grad()
    torch.manual_seed(1)
    ids = torch.randint(5, fakes.VOCAB_SIZE, (3, 9))
    logits = model(input_ids=ids).logits
    logits.float().square().sum().backward()
    return logits, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("kind", ["gemma", "llama", "qwen2"])  # qwen2 has biases
def test_outputs_and_gradients_are_those_of_peft(kind: str, rslora: bool) -> None:
    model = adapted(kind, lora_alpha=12, use_rslora=rslora)
    expected, wanted = trained(model)
    assert fuse_lora(model) == LAYERS
    found, gradients = trained(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert (gradient - wanted[name]).norm() <= 1e-4 * wanted[name].norm(), name


def test_bf16_with_float32_adapters_is_as_near_to_float32_as_peft() -> None:
    def error(*, fused: bool) -> float:
        model = adapted("llama")
        exact = trained(model)[1]
        for name, parameter in model.named_parameters():
            if "lora" not in name:
                parameter.data = parameter.data.bfloat16()
        if fused:
            assert fuse_lora(model) == LAYERS
        with torch.autocast("cpu", torch.bfloat16):
            found = trained(model)[1]
        assert all(gradient.dtype is torch.float32 for gradient in found.values())
        return max(float((found[n] - exact[n]).norm() / exact[n].norm()) for n in exact)

    assert error(fused=True) < 1.5 * error(fused=False)


@pytest.mark.parametrize(
    "options", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}], ids=str
)
def test_what_does_more_is_left_to_peft(options: dict[str, Any]) -> None:
    assert fuse_lora(adapted(**options)) == 0


def test_disabled_and_merged_adapters_are_still_peft_s() -> None:
    model = adapted()
    ids = torch.randint(5, fakes.VOCAB_SIZE, (1, 6))
    with torch.no_grad():
        active = model(input_ids=ids).logits
        with model.disable_adapter():
            base = model(input_ids=ids).logits
        fuse_lora(model)
        torch.testing.assert_close(model(input_ids=ids).logits, active)
        with model.disable_adapter():
            torch.testing.assert_close(model(input_ids=ids).logits, base)
        model.merge_adapter()
        torch.testing.assert_close(model(input_ids=ids).logits, active, rtol=1e-4, atol=1e-4)
    assert (active - base).norm() > 0.1
