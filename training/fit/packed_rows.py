"""Rows of a batch as one flat row: no padding, and what all prompts begin with computed once.

Every prompt of an adapter begins alike ("Translate from English to French:"), and under causal
attention what comes first does not depend on what follows. So the shared beginning goes through
the model once a batch, and each row attends to it and to itself. Loss and gradients are those of
the padded batch: the gradients of the rows meet in the shared part.

Shapes: B rows, T their longest own part, P positions of the shared part, N flat positions; H heads
of the query, K heads of key and value, D the size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.encode import IGNORED

NAME: Final = "dragoman_packed_rows"
# Held against the padded batch by tests/training/test_packed_rows.py. Others may attend in ways
# of their own (caps, sinks, states), so they keep their padding.
MODEL_TYPES: Final = frozenset({"gemma3_text", "llama", "mistral", "qwen2", "qwen3"})

# Rows of more positions than the root of this would take memory by its square.
_LONG: Final = 512 * 512


@dataclass(frozen=True)
class PackedRows:
    """One batch: its flat ids and positions, what they should predict, and who attends to whom."""

    input_ids: Tensor  # (N,), as positions and next_labels
    positions: Tensor
    # IGNORED where no loss is taken; the shared part predicts nothing.
    next_labels: Tensor
    shared: int
    rows: int
    longest: int
    # Where each own position stands among B * T.
    places: Tensor

    @classmethod
    def of(cls, input_ids_BT: Tensor, labels_BT: Tensor) -> PackedRows:
        """Pack rows that are padded on the right; what follows a row's last label is left out."""
        columns = torch.arange(labels_BT.shape[1], device=labels_BT.device)
        is_label_BT = labels_BT != IGNORED
        shared = _shared(input_ids_BT, is_label_BT)
        # The last label is predicted, and predicts nothing.
        ends_B = torch.where(is_label_BT, columns, 0).amax(1).clamp_min(shared + 1)
        longest = int(ends_B.max()) - shared
        own = columns[: longest + 1] + shared
        is_own_BT = own[:-1] < ends_B[:, None]
        ids_BT, next_BT = input_ids_BT[:, own[:-1]], labels_BT[:, own[1:]]
        return cls(
            input_ids=torch.cat([input_ids_BT[0, :shared], ids_BT[is_own_BT]]),
            positions=torch.cat([columns[:shared], own[:-1].expand_as(ids_BT)[is_own_BT]]),
            next_labels=pad(next_BT[is_own_BT], (shared, 0), value=IGNORED),
            shared=shared,
            rows=len(ids_BT),
            longest=longest,
            places=is_own_BT.flatten().nonzero()[:, 0],
        )

    def attend(
        self, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, *, scale: float,
        window: int | None,
    ) -> Tensor:  # fmt: skip
        """Return attention's output, (N, H, D); H is a multiple of K."""
        shared, own = slice(0, self.shared), slice(self.shared, None)
        query, key, value = (self._unpacked(x[own]) for x in (query_NHD, key_NKD, value_NKD))
        if not self.shared:
            return self._packed(_attended(query, key, value, scale, window))
        head = [x[None, shared] for x in (query_NHD, key_NKD, value_NKD)]
        seen = [x.expand(self.rows, -1, -1, -1) for x in head[1:]]
        key, value = torch.cat([seen[0], key], 1), torch.cat([seen[1], value], 1)
        first = _attended(head[0], head[1], head[2], scale, window)[0]
        return torch.cat([first, self._packed(_attended(query, key, value, scale, window))])

    def _unpacked(self, x_NHD: Tensor) -> Tensor:
        """Return (B, T, H, D), zeros where a row has ended."""
        _, heads, size = x_NHD.shape
        rows = x_NHD.new_zeros(self.rows * self.longest, heads, size)
        return rows.index_copy(0, self.places, x_NHD).view(self.rows, self.longest, heads, size)

    def _packed(self, x_BTHD: Tensor) -> Tensor:
        """Return (own positions, H, D)."""
        return x_BTHD.flatten(0, 1).index_select(0, self.places)


def can_pack(model: PreTrainedModel) -> bool:
    """Whether `model` attends in the way that is held against padded batches here."""
    text = model.config.get_text_config()
    return (
        text.model_type in MODEL_TYPES
        and text._attn_implementation in ("sdpa", NAME)
        and not text.attention_dropout
    )


def pack(model: PreTrainedModel) -> None:
    """Let `model` take `packed=`; calls without it attend as before. `can_pack` must hold."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    packed: PackedRows | None = kwargs.pop("packed", None)
    if packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    window = kwargs.get("sliding_window")
    return packed.attend(query, key, value, scale=kwargs["scaling"], window=window)[None], None


def _attended(
    query_BTHD: Tensor, key_BSKD: Tensor, value_BSKD: Tensor, scale: float, window: int | None
) -> Tensor:
    """Return attention of the last T of S positions; padding stands last, so nothing sees it."""
    batch, wide, heads, size = query_BTHD.shape
    long, kept = key_BSKD.shape[1:3]
    ago_TS = torch.arange(long - wide, long)[:, None] - torch.arange(long)
    seen_TS = (ago_TS >= 0) & (ago_TS < (window or long))
    if wide * long > _LONG:
        query, key, value = (x.transpose(1, 2) for x in (query_BTHD, key_BSKD, value_BSKD))
        out_BHTD = scaled_dot_product_attention(
            query, key, value, attn_mask=seen_TS, scale=scale, enable_gqa=heads != kept
        )
        return out_BHTD.transpose(1, 2)
    # Short rows: two products of the whole batch take 0.5-0.7 of the time of torch's kernel. As in
    # that kernel, scores stay float32: bf16 rounds one of 20 by up to 0.06, a probability by 6 %.
    groups = heads // kept
    query = query_BTHD.unflatten(2, (kept, groups)).transpose(1, 2).reshape(batch * kept, -1, size)
    key, value = (x.transpose(1, 2).flatten(0, 1) for x in (key_BSKD, value_BSKD))
    unseen_TS = torch.zeros(wide, long).masked_fill(~seen_TS, float("-inf"))
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.baddbmm(
            unseen_TS.repeat_interleave(groups, 0), query.float(), key.float().transpose(1, 2),
            alpha=scale,
        )  # fmt: skip
        out = torch.bmm(scores.softmax(-1).to(value.dtype), value)
    return out.view(batch, kept, wide, groups, size).transpose(1, 2).flatten(2, 3)


def _shared(input_ids_BT: Tensor, is_label_BT: Tensor) -> int:
    """Return how many first positions all rows have in common, none of which predicts a label."""
    if len(input_ids_BT) == 1:
        return 0
    alike = (input_ids_BT == input_ids_BT[0]).all(0) & ~is_label_BT.any(0)
    common = int(alike.cumprod(0).sum())
    return max(0, min(common - 1, input_ids_BT.shape[1] - 2))
