"""Cross entropy at label positions only, in chunks, with its gradient made on the way forward.

Off the GPU, TRL 1.16 projects every position (prompt and padding too) through the head and keeps
float32 rows of the whole vocabulary for backward. With 262,144 tokens and interface strings that
is most of the time: here the body runs once, the head sees the labelled positions only, and a
chunk's logits are turned into the gradient of its hidden states before the next chunk is made.
The head and the embedding are frozen under LoRA, so no other gradient is needed.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from training.encode import IGNORED
from training.fit.packed_rows import PackedRows, can_pack, pack

# Logits a chunk: 64 MB in bf16. The head is packed anew for every product, so fewer are faster;
# beyond this size no longer by more than the noise of the measurement.
_CHUNK_ELEMENTS: Final = 32 << 20
# Share of the precision's epsilon (0.001 in bf16) that the gradient may lack.
_LEFT_OUT: Final = 1 / 8
# Heads that do more than one product; TRL's own loss knows them.
_SPECIAL_HEADS: Final = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


class _SummedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
        with_gradient = hidden_ND.requires_grad
        gradient_ND = torch.empty_like(hidden_ND) if with_gradient else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        rows = max(1, _CHUNK_ELEMENTS // weight_VD.shape[0])
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            labels_C = labels_N[part, None]
            logits_CV = linear(hidden_ND[part], weight_VD)
            right_C = logits_CV.gather(1, labels_C).float()
            if gradient_ND is None:
                loss += (torch.logsumexp(logits_CV, 1, keepdim=True).float() - right_C).sum()
                continue
            largest_C = logits_CV.amax(1, keepdim=True)
            logits_CV.sub_(largest_C).exp_()
            # In parts of bf16 this would be faster, but too coarse where one word has it all.
            sums_C = logits_CV.sum(1, keepdim=True, dtype=torch.float32)
            loss += (sums_C.log() + largest_C.float() - right_C).sum()
            # (softmax - one_hot) @ W, the division by the sum taken out of the large matrix.
            gradient_CD = _weighted_sums(logits_CV, sums_C, labels_C, weight_VD) / sums_C
            gradient_ND[part] = gradient_CD - weight_VD[labels_C[:, 0]]
        ctx.save_for_backward(gradient_ND)
        return loss

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * outputs[0].to(gradient_ND.dtype), None, None


def _weighted_sums(exps_CV: Tensor, sums_C: Tensor, labels_C: Tensor, weight_VD: Tensor) -> Tensor:
    """Return exps @ W, float32, but for words whose share is below what the precision resolves.

    The gradient of a row is as large as the probability of its wrong words. Left out are words
    that together hold, over all rows, less than _LEFT_OUT of that: four fifths of 262,144 in
    bf16. Where probability is spread over more words, none is.
    """
    wrong = 1 - exps_CV.gather(1, labels_C) / sums_C
    allowed = float(wrong.sum()) * torch.finfo(exps_CV.dtype).eps * _LEFT_OUT
    mass_V = (sums_C.reciprocal().to(exps_CV.dtype).T @ exps_CV)[0].float()
    words_K = _above(mass_V, allowed).nonzero()[:, 0]
    if len(words_K) > len(mass_V) // 3:
        return (exps_CV @ weight_VD).float()
    return (exps_CV.index_select(1, words_K) @ weight_VD.index_select(0, words_K)).float()


def _above(mass_V: Tensor, allowed: float) -> Tensor:
    """Return which elements to keep so that the smallest are left out, `allowed` at most in all."""
    least = allowed / len(mass_V)  # all elements below this cannot have more
    while allowed > 0 and torch.where(mass_V <= 2 * least, mass_V, 0).sum() <= allowed:
        least *= 2
    return mass_V > least


def summed_loss(hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
    """Return the summed cross entropy of `labels_N`, float32. `weight_VD` must be frozen."""
    loss: Tensor = _SummedLoss.apply(hidden_ND, weight_VD, labels_N)  # type: ignore[no-untyped-call]
    return loss


def can_score_labels_only(model: PreTrainedModel) -> bool:
    """Whether the head of `model` is one frozen product, on a CPU."""
    return has_plain_head(model) and model.get_output_embeddings().weight.device.type == "cpu"


def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether the head of `model` is one frozen product."""
    head = model.get_output_embeddings()
    text = model.config.get_text_config()
    return (
        head is not None
        and not head.weight.requires_grad
        and getattr(head, "bias", None) is None
        and all(getattr(text, name, None) in (None, 1.0) for name in _SPECIAL_HEADS)
        and not getattr(text, "output_router_logits", False)
    )


def score_labels_only(model: PreTrainedModel) -> None:
    """Teach `model` a keyword: `model(input_ids, labels=…, summed_loss=True)` is the loss alone.

    Rows are padded on the right, so a causal model needs no mask: real tokens come first.
    Everything else, generation included, still goes through the model's own forward.
    """
    original = model.forward
    if can_pack(model):
        pack(model)

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, summed_loss: bool = False, **kwargs: Any) -> Any:
        if not summed_loss:
            return original(*args, **kwargs)
        return _label_loss(self, **kwargs)

    model.forward = types.MethodType(forward, model)


def _label_loss(model: Any, labels: Tensor, **inputs: Any) -> Tensor:
    # PEFT turns ids into what its method needs: embeddings, keys and values of virtual tokens.
    given = {name: value for name, value in inputs.items() if value is not None}
    weight_VD = model.get_output_embeddings().weight
    if given.keys() == {"input_ids"} and can_pack(model):
        rows = PackedRows.of(given["input_ids"], labels)
        body = model.base_model(
            input_ids=rows.input_ids[None],
            position_ids=rows.positions[None],
            use_cache=False,
            packed=rows,
        )
        wanted_N = rows.next_labels != IGNORED
        return summed_loss(
            body.last_hidden_state[0, wanted_N], weight_VD, rows.next_labels[wanted_N]
        )
    if given.get("past_key_values") is None:
        given["use_cache"] = False
    body = model.base_model(**given)
    next_BT = labels[:, 1:]
    wanted_BT = next_BT != IGNORED
    hidden_ND = body.last_hidden_state[:, :-1][wanted_BT]
    return summed_loss(hidden_ND, weight_VD, next_BT[wanted_BT])
