"""A frozen linear layer and its LoRA as one step of autograd, for the CPU.

PEFT's forward is nine operations of torch for each of a hundred layers, with a copy of the whole
output for the scale and one for the sum. Here the small products are added where the large one
stands, forward and backward; the values are those of PEFT up to rounding.

Shapes: N rows, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn.functional import linear


class _LoraProduct(torch.autograd.Function):
    """x W^T + bias + scale (x A^T) B^T, with W and bias frozen."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - the order of autograd's gradients
        ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor,
        b_OR: Tensor, scale: float,
    ) -> Tensor:  # fmt: skip
        inner_NR = x_NI @ a_RI.to(x_NI.dtype).T
        out_NO = linear(x_NI, weight_OI, bias_O)
        ctx.save_for_backward(x_NI, inner_NR, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        return out_NO.addmm_(inner_NR, b_OR.to(x_NI.dtype).T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_NO,) = outputs
        x_NI, inner_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        grad_inner_NR = (grad_NO @ b_OR.to(grad_NO.dtype)).mul_(ctx.scale)
        grad_b_OR = (grad_NO.T @ inner_NR).to(b_OR.dtype).mul_(ctx.scale)
        grad_a_RI = (grad_inner_NR.T @ x_NI).to(a_RI.dtype)
        grad_x_NI = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = grad_NO @ weight_OI
            grad_x_NI.addmm_(grad_inner_NR, a_RI.to(grad_NO.dtype))
        return grad_x_NI, None, None, grad_a_RI, grad_b_OR, None


def fuse_lora(model: nn.Module) -> int:
    """Fuse every plain LoRA of `model` on the CPU; return how many.

    What does more than the one formula is left to PEFT: dropout, DoRA and the other variants,
    biases of the adapter, merged or disabled adapters, inputs of another precision.
    """
    fused = 0
    for module in model.modules():
        if isinstance(module, LoraLinear) and (name := _plain(module)):
            # As a method of this one instance; setattr, since a method is replaced.
            setattr(module, "forward", types.MethodType(_fused(module.forward, name), module))  # noqa: B010
            fused += 1
    return fused


def _fused(original: Any, name: str) -> Any:
    @functools.wraps(original)
    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self.base_layer
        out: Tensor
        usual = not (args or kwargs or self.merged or self.disable_adapters)
        if not usual or x.dtype is not layer.weight.dtype or self.active_adapters != [name]:
            out = original(x, *args, **kwargs)
            return out
        # Under autocast the products below would ask for each tensor whether it is to be cast.
        with torch.autocast(x.device.type, enabled=False):
            out = _LoraProduct.apply(  # type: ignore[no-untyped-call]
                x.flatten(0, -2), layer.weight, layer.bias, self.lora_A[name].weight,
                self.lora_B[name].weight, self.scaling[name],
            )  # fmt: skip
        return out.view(*x.shape[:-1], -1)

    return forward


def _plain(module: LoraLayer) -> str | None:
    """Return the name of the module's adapter if it is one plain LoRA on a frozen layer."""
    names = list(module.lora_A)
    layer: Any = module.base_layer
    if len(names) != 1 or type(layer) is not nn.Linear or layer.weight.device.type != "cpu":
        return None
    name: str = names[0]
    parameters = list(layer.parameters())
    plain = (
        name not in module.lora_variant
        and isinstance(module.lora_dropout[name], nn.Identity)
        and module.lora_B[name].bias is None
        and not any(parameter.requires_grad for parameter in parameters)
    )
    return name if plain else None
