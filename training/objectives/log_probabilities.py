"""Log-probabilities of labels with their gradients, in chunks of the vocabulary's rows."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import linear

from training.objectives.label_hidden import chunks

# As in fit.label_loss: 256 MB in bf16.
_CHUNK_ELEMENTS: Final = 128 << 20


class _LogProbabilities(torch.autograd.Function):
    """d logp_n / d hidden_n is kept (N x D); what each is worth is known only in backward."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
        gradient_ND = torch.empty_like(hidden_ND) if hidden_ND.requires_grad else None
        logps_N = torch.empty(len(hidden_ND), dtype=torch.float32, device=hidden_ND.device)
        for part in chunks(len(hidden_ND), len(weight_VD), elements=_CHUNK_ELEMENTS):
            labels_C1 = labels_N[part, None]
            logits_CV = linear(hidden_ND[part], weight_VD)
            right_C1 = logits_CV.gather(1, labels_C1).float()
            largest_C1 = logits_CV.amax(1, keepdim=True)
            logits_CV.sub_(largest_C1).exp_()
            sums_C1 = logits_CV.sum(1, keepdim=True, dtype=torch.float32)
            logps_N[part] = (right_C1 - largest_C1.float() - sums_C1.log())[:, 0]
            if gradient_ND is not None:
                # (one_hot - softmax) @ W, the division taken out of the large matrix.
                expected_CD = (logits_CV @ weight_VD).float() / sums_C1
                gradient_ND[part] = weight_VD[labels_C1[:, 0]] - expected_CD
        ctx.save_for_backward(gradient_ND)
        return logps_N

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * outputs[0][:, None].to(gradient_ND.dtype), None, None


def log_probabilities(hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
    """Return the log-probability of each label, (N,) float32. `weight_VD` must be frozen."""
    # What leaves a model under accelerate's autocast is float32, with the values of bf16.
    hidden_ND = hidden_ND.to(weight_VD.dtype)
    logps_N: Tensor = _LogProbabilities.apply(hidden_ND, weight_VD, labels_N)  # type: ignore[no-untyped-call]
    return logps_N
