"""Adapters that are refused: how to spoil one, and what the refusal says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import AdapterRejected
from adapters.verify import verify_adapter
from tests import fakes

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"
UP_PROJ = "base_model.model.model.layers.0.mlp.up_proj"


def rejected(folder: Path, expected: type[AdapterRejected], **limits: Any) -> str:
    """Return the message with which a folder is refused whose hashes are all right."""
    return refused(folder, fakes.contract(folder), expected, **limits)


def refused(folder: Path, manifest: Any, expected: type[AdapterRejected], **limits: Any) -> str:
    with pytest.raises(AdapterRejected) as caught:
        verify_adapter(folder, manifest, **limits)
    assert type(caught.value) is expected
    assert "\n" not in str(caught.value)
    return str(caught.value)


def retensor(
    folder: Path, changes: dict[str, Any] | None = None, *, dtype: str = "float32"
) -> None:
    tensors = fakes.lora_tensors()
    for name, values in (changes or {}).items():
        if values is None:
            tensors.pop(name)
        else:
            tensors[name] = values
    fakes.write_tensors(folder / WEIGHTS, tensors, dtype=dtype)


def reconfigure(folder: Path, **changes: Any) -> None:
    fakes.write_json(folder / CONFIG, fakes.lora_config(**changes))
