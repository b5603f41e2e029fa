from __future__ import annotations

import pytest
import torch
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from tests.training import tiny
from training.fit.fused_norm import fuse_norms

pytestmark = pytest.mark.train


def norm(size: int = 48) -> Gemma3RMSNorm:
    torch.manual_seed(0)
    module = Gemma3RMSNorm(size)
    torch.nn.init.normal_(module.weight)
    return module.requires_grad_(False)


def both(module: Gemma3RMSNorm, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output, and the gradient of the input for a random one of the output."""
    x = x.clone().requires_grad_()
    out = module(x)
    torch.manual_seed(2)
    out.backward(torch.randn(out.shape).to(out.dtype))
    assert x.grad is not None
    return out, x.grad


@pytest.mark.parametrize("size_of_input", [1e-4, 1.0, 1e3])
def test_outputs_and_gradients_are_those_of_transformers(size_of_input: float) -> None:
    module = norm()
    # As the query's norm sees it: heads before positions, not contiguous.
    x = torch.randn(2, 7, 3, 48).transpose(1, 2) * size_of_input
    expected, wanted = both(module, x)
    assert fuse_norms(module) == 1
    found, gradient = both(module, x)
    torch.testing.assert_close(found, expected)
    assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()


def test_bf16_is_rounded_once() -> None:
    module = norm()
    x = torch.randn(5, 48).bfloat16()
    exact, wanted = both(module, x.float())
    fuse_norms(module)
    found, gradient = both(module, x)
    assert found.dtype is gradient.dtype is torch.bfloat16
    torch.testing.assert_close(found, exact.bfloat16())
    assert (gradient - wanted).norm() <= 0.005 * wanted.norm()


def test_norms_that_learn_and_norms_of_other_models_are_left_alone() -> None:
    gemma, llama = tiny.model("gemma"), tiny.model("llama")
    assert fuse_norms(gemma) == 0
    assert fuse_norms(gemma.requires_grad_(False)) == 2 * 6 + 1
    assert fuse_norms(llama.requires_grad_(False)) == 0
