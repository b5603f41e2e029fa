"""A sequence-to-sequence base as a model. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.utils import logging

from training.methods.attach import load_base
from training.methods.config import LoraMethod, Method

_PLAIN: Final = LoraMethod()


def load_pair_model(folder: Path, method: Method = _PLAIN) -> Any:
    """Return the model in `folder`, in bf16 if it is in bf16, in float32 otherwise.

    Never in float16: it overflows in T5 and mT5, which were trained in bf16.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model: PreTrainedModel = load_base(folder, method, kind=AutoModelForSeq2SeqLM)
    return model.float() if model.dtype is torch.float16 else model


def positions_of(config: Any) -> int | None:
    """Return how many tokens a side may have at most; None where positions are relative."""
    limit = getattr(config, "max_position_embeddings", None)
    return None if limit is None else int(limit)
