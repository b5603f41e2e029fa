"""adapter_config.json of PEFT: which settings a served LoRA may have, and what they mean.

vLLM raises on some of what it cannot serve, inside the engine, and silently ignores the rest;
both are found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from adapters.errors import FileCorrupt, UnsupportedAdapter

# PEFT settings that vLLM 0.32 refuses or would silently ignore, and the value that is harmless.
_PLAIN_LORA: Final[dict[str, tuple[object, ...]]] = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "fan_in_fan_out": (None, False),
    "use_qalora": (None, False),
    "use_bdlora": (None, False, {}),
    "alora_invocation_tokens": (None, []),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "megatron_config": (None, {}),
    "arrow_config": (None, {}),
    "kasa_config": (None, {}),
    "monteclora_config": (None, {}),
    # Others (PiSSA, OLoRA, CorDA, LoftQ) leave a changed base behind, which nobody serves.
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal", "mica", "lora_ga"),
}


def verify_peft_config(path: Path, config: dict[str, Any]) -> None:
    """Raise unless `config`, read from `path`, is a plain LoRA with well-formed settings.

    Raises UnsupportedAdapter, FileCorrupt.
    """
    for key, harmless in _PLAIN_LORA.items():
        if config.get(key) not in harmless:
            raise UnsupportedAdapter(
                f"{path}: {key}={config[key]!r:.80} cannot be served by vLLM as it is; "
                "convert it to a plain LoRA, or merge it into the base"
            )
    for key, (expected, holds) in _WELL_FORMED.items():
        if not holds(config.get(key)):
            raise FileCorrupt(
                f"{path}: {key} is {config.get(key)!r:.80}, expected {expected}; "
                "save the adapter again with PEFT"
            )


class RankRule:
    """The rank of each module after PEFT's `r` and `rank_pattern` (peft get_pattern_key)."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._default = int(config["r"])
        self._patterns: dict[str, int] = config.get("rank_pattern") or {}

    def of(self, module: str) -> int:
        """Return the rank that `module` must have."""
        for pattern, rank in self._patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return rank
        return self._default


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MAX_ALPHA


def _are_modules(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(name, str) for name in value)
    return isinstance(value, str) and bool(value)


def _is_pattern_of(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    def is_pattern(value: object) -> bool:
        if value is None:
            return True
        if not isinstance(value, dict):
            return False
        return all(_is_safe_regex(key) and holds(entry) for key, entry in value.items())

    return is_pattern


def _is_safe_regex(pattern: str) -> bool:
    # A repeated group can take for ever to match, and this one came with somebody's adapter.
    if re.search(r"\)[*+?{]", pattern):
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


_MAX_ALPHA: Final = 1e6
_WELL_FORMED: Final[dict[str, tuple[str, Callable[[object], bool]]]] = {
    "r": ("a rank above 0", _is_rank),
    "lora_alpha": ("a number above 0", _is_number),
    "target_modules": ("module names", _are_modules),
    "rank_pattern": ("{module pattern: rank}", _is_pattern_of(_is_rank)),
    "alpha_pattern": ("{module pattern: alpha}", _is_pattern_of(_is_number)),
    "use_rslora": ("true or false", lambda value: value in (None, True, False)),
}
