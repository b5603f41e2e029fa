"""How far the answers of two models lie apart on real rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from training.encode import Encoded

# At a vocabulary of 262,144 a position takes 1 MB.
_POSITIONS: Final = 96
_IGNORED: Final = -100


def log_probs(model: Any, rows: Sequence[Encoded]) -> Tensor:
    """Return (positions, vocabulary): the model's log-probabilities of the first rows' targets."""
    found: list[Tensor] = []
    count = 0
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    bf16 = next(model.parameters()).dtype is torch.bfloat16
    # As in training: float32 adapters on a bf16 base compute in bf16.
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for row in rows:
            ids = torch.tensor([row.input_ids], device=device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            labels = torch.tensor(row.labels[1:], device=logits.device)
            found.append(torch.log_softmax(logits[labels != _IGNORED].float(), -1).cpu())
            count += len(found[-1])
            if count >= _POSITIONS:
                break
    model.train(was_training)
    return torch.cat(found)[:_POSITIONS]


def divergence(real: Tensor, other: Tensor) -> float:
    """Return the mean KL divergence of `other` from `real`, in nats a position."""
    return float(torch.nn.functional.kl_div(other, real, log_target=True, reduction="batchmean"))
