"""Which kind of base a folder holds: how it is asked follows from that. Imports no torch."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any, Final

from adapters.base_model import read_config
from adapters.errors import BaseModelError


class Family(enum.StrEnum):
    """How a sequence-to-sequence base is told the languages."""

    MARIAN = "marian"  # by its weights, or by `>>code<<` before the source
    MBART50 = "mbart-50"  # by a code before the source, and one before the target
    T5 = "t5"  # by words before the source


_BY_TYPE: Final = {
    "marian": Family.MARIAN,
    "mbart": Family.MBART50,
    "t5": Family.T5,
    "mt5": Family.T5,
}
# mBART-25 has the codes behind the text, mBART-50 before it; config.json calls both "mbart".
_MBART25_TOKENIZERS: Final = ("MBartTokenizer", "MBartTokenizerFast")


def family_of(base: Path) -> Family | None:
    """Return the family of the base in folder `base`; None for a causal model.

    Raises BaseModelError for a sequence-to-sequence model that nothing here knows how to ask.
    """
    config = read_config(base)
    family = _BY_TYPE.get(str(config.get("model_type")))
    if family is None:
        if config.get("is_encoder_decoder"):
            raise BaseModelError(
                f"{base}: a sequence-to-sequence model of type {config.get('model_type')!r}, "
                f"expected one of {', '.join(_BY_TYPE)}, or a causal model; choose another base"
            )
        return None
    if family is Family.MBART50 and _tokenizer_class(base, config) in _MBART25_TOKENIZERS:
        raise BaseModelError(
            f"{base}: mBART-25, whose language codes stand elsewhere; "
            "expected mBART-50, for example facebook/mbart-large-50"
        )
    return family


def _tokenizer_class(base: Path, config: dict[str, Any]) -> str:
    try:
        noted = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = {}
    return str(noted.get("tokenizer_class") or config.get("tokenizer_class") or "")
