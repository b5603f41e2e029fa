"""Cross entropy and KL(base || adapted) at label positions, in chunks, gradient made on the way.

The direction is that of the base's own choices: Khayrallah et al. 2018 (doi:10.18653/v1/W18-2705)
hold a translation model to its general domain by the cross entropy under the general model, which
is KL(general || adapted) plus a constant, and Li & Hoiem 2016 (arXiv:1606.09282, learning without
forgetting) do the same for images. It costs where the adapted model drops a word that the base
would have used; the other direction costs nothing there. Its gradient, softmax - base's softmax,
needs no sampling.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import linear

from training.objectives.label_hidden import chunks

# Five matrices of this many float32 at once: 640 MB.
_CHUNK_ELEMENTS: Final = 32 << 20


class _Regularised(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what autograd hands over, in its order
        ctx: Any, hidden_ND: Tensor, base_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, kl: float
    ) -> tuple[Tensor, Tensor]:
        gradient_ND = torch.empty_like(hidden_ND)
        loss, divergence = torch.zeros(2, dtype=torch.float32, device=hidden_ND.device)
        for part in chunks(len(hidden_ND), len(weight_VD), elements=_CHUNK_ELEMENTS):
            labels_C1 = labels_N[part, None]
            logps_CV = torch.log_softmax(linear(hidden_ND[part], weight_VD).float(), 1)
            base_CV = torch.log_softmax(linear(base_ND[part], weight_VD).float(), 1)
            loss -= logps_CV.gather(1, labels_C1).sum()
            base_p_CV = base_CV.exp()
            divergence += (base_p_CV * base_CV.sub_(logps_CV)).sum()
            # (1 + kl) softmax - kl base's softmax - one_hot, all times W.
            weights_CV = logps_CV.exp_().mul_(1 + kl).sub_(base_p_CV, alpha=kl)
            weights_CD = (weights_CV.to(weight_VD.dtype) @ weight_VD).float()
            gradient_ND[part] = weights_CD - weight_VD[labels_C1[:, 0]]
        ctx.save_for_backward(gradient_ND)
        ctx.mark_non_differentiable(divergence)
        return loss + kl * divergence, divergence

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * outputs[0].to(gradient_ND.dtype), None, None, None, None


def regularised_loss(
    hidden_ND: Tensor, base_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, *, kl: float
) -> tuple[Tensor, Tensor]:
    """Return summed cross entropy + kl * KL(base || adapted), and the summed KL without gradient.

    `base_ND` are the base's hidden states at the same positions; `weight_VD` must be frozen.
    """
    # What leaves a model under accelerate's autocast is float32, with the values of bf16.
    hidden_ND, base_ND = hidden_ND.to(weight_VD.dtype), base_ND.to(weight_VD.dtype)
    loss, divergence = _Regularised.apply(hidden_ND, base_ND, weight_VD, labels_N, kl)  # type: ignore[no-untyped-call]
    return loss, divergence
