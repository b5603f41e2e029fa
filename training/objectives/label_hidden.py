"""The hidden states that predict labels: what every objective makes its loss of.

The head is applied by the losses themselves, in chunks: with 262,144 tokens, logits of a whole
batch would take more memory than the model.
"""

from __future__ import annotations

import functools
import types
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from adapters.errors import TrainingFailed
from training.encode import IGNORED
from training.fit.label_loss import has_plain_head


def give_label_hidden(model: PreTrainedModel) -> None:
    """Teach `model` a keyword: `model(input_ids, labels=…, label_hidden=True)` is hidden_ND.

    N counts the labelled positions, row by row. Rows are padded on the right. Everything else
    still goes through the model's own forward. Raises TrainingFailed if the head is more than
    one frozen product.
    """
    if not has_plain_head(model):
        raise TrainingFailed(
            f"{type(model).__name__}: its head is trained or is more than one product, which only "
            "plain sft knows; use objective.kind: sft without kl_to_base (and no "
            "method.embeddings), or another base"
        )
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, label_hidden: bool = False, **kwargs: Any) -> Any:
        if not label_hidden:
            return original(*args, **kwargs)
        return _label_hidden(self, **kwargs)

    model.forward = types.MethodType(forward, model)


def labels_of(labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels_N of the hidden states that the keyword gives, and the row of each."""
    next_BT = labels_BT[:, 1:]
    wanted_BT = next_BT != IGNORED
    return next_BT[wanted_BT], wanted_BT.nonzero()[:, 0]


def head_of(model: PreTrainedModel) -> Tensor:
    """Return the head's weight_VD."""
    weight_VD: Tensor = model.get_output_embeddings().weight
    return weight_VD


def chunks(rows: int, vocabulary: int, *, elements: int) -> list[slice]:
    """Return slices of `rows` whose logits are of at most so many elements."""
    size = max(1, elements // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]


def _label_hidden(model: Any, labels: Tensor, **inputs: Any) -> Tensor:
    # PEFT turns ids into what its method needs: embeddings, keys and values of virtual tokens.
    given = {name: value for name, value in inputs.items() if value is not None}
    if given.get("past_key_values") is None:
        given["use_cache"] = False
    hidden_BTD = model.base_model(**given).last_hidden_state
    hidden_ND: Tensor = hidden_BTD[:, :-1][labels[:, 1:] != IGNORED]
    return hidden_ND
