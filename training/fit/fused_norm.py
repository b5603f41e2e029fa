"""Gemma's RMSNorm as one step of autograd, for the CPU.

transformers' own is nine operations forward and twice as many backward, each of which writes a
float32 copy of its input. Here two copies are changed in place; the values are the same.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm


class _RmsNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * scale over the last dimension, in float32; scale is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        exact = x.to(torch.float32, copy=True)
        factor = exact.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, factor, scale)
        return exact.mul_(factor).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        x, factor, scale = ctx.saved_tensors
        normed = x.to(torch.float32, copy=True).mul_(factor)
        gradient = outputs[0].to(torch.float32, copy=True).mul_(scale)
        along = (gradient * normed).mean(-1, keepdim=True)
        gradient.sub_(normed.mul_(along)).mul_(factor)
        return gradient.to(x.dtype), None, None


def fuse_norms(model: nn.Module) -> int:
    """Fuse every frozen RMSNorm of Gemma 3 on the CPU; return how many."""
    fused = 0
    for module in model.modules():
        if type(module) is Gemma3RMSNorm and _frozen(module.weight):
            setattr(module, "forward", types.MethodType(_forward, module))  # noqa: B010
            fused += 1
    return fused


def _forward(self: Any, x: Tensor) -> Tensor:
    normed: Tensor = _RmsNorm.apply(x, 1.0 + self.weight.float(), self.eps)  # type: ignore[no-untyped-call]
    return normed


def _frozen(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and not weight.requires_grad
