"""transformers' folder in, CTranslate2's out. Imports ctranslate2's converters, and torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter

from adapters.errors import TrainingFailed
from training.translate.note import Precision


class _Converter(TransformersConverter):  # type: ignore[misc]  # it has no types
    """CTranslate2 4.8 reads facts off the config that transformers 5 no longer notes there."""

    def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
        """Return the model with a config as transformers 4 had it."""
        model = super().load_model(model_class, model_name_or_path, **options)
        config = model.config
        if config.model_type in ("t5", "mt5"):
            # There "tied" meant: scale the output. T5 does, T5 1.1 and mT5 do not.
            config.tie_word_embeddings = bool(getattr(config, "scale_decoder_outputs", False))
        if config.model_type == "mbart":
            # Or it starts the decoder as mBART-25, with a language code in the place of </s>.
            config.tokenizer_class = "MBart50Tokenizer"
            config.normalize_before = config.normalize_embedding = True  # all of its code does
        return model

    def load_tokenizer(self, tokenizer_class: Any, name: str, **options: Any) -> Any:
        """Return the tokenizer with a BOS: mBART's has none any more, and null cannot be loaded."""
        tokenizer = super().load_tokenizer(tokenizer_class, name, **options)
        if tokenizer.bos_token is None:
            tokenizer.bos_token = tokenizer.cls_token or tokenizer.eos_token
        return tokenizer


def convert(folder: Path, out: Path, precision: Precision) -> None:
    """Write the model in `folder` to `out`. Raises TrainingFailed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _Converter(str(folder)).convert(str(out), quantization=precision.value)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise TrainingFailed(
            f"{folder}: CTranslate2 cannot convert this model "
            f"({type(error).__name__}: {error}); run the run folder itself"
        ) from error
