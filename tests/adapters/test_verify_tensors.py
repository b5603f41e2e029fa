from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.errors import (
    BaseModelNotFound,
    FileCorrupt,
    NonFiniteWeights,
    RankTooLarge,
    ShapeMismatch,
    UnsupportedAdapter,
)
from adapters.verify import verify_adapter
from tests import fakes
from tests.adapters.rejections import (
    Q_PROJ,
    UP_PROJ,
    WEIGHTS,
    reconfigure,
    refused,
    rejected,
    retensor,
)


def test_a_rank_above_the_limit_is_too_large(lora: Path) -> None:
    message = rejected(lora, RankTooLarge, max_rank=3)
    assert "rank 4" in message
    assert "--max-lora-rank" in message


def test_another_rank_than_the_configuration_says_is_a_mismatch(lora: Path) -> None:
    reconfigure(lora, rank=8)
    assert "the config says 8" in rejected(lora, ShapeMismatch)


def test_another_rank_than_the_manifest_says_is_a_mismatch(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "a", rank=2)
    assert "manifest says rank 4, tensors have 2" in rejected(folder, ShapeMismatch)


def test_a_rank_pattern_gives_a_module_its_own_rank(lora: Path) -> None:
    a, b = np.ones((2, fakes.HIDDEN)), np.ones((fakes.HIDDEN, 2))
    retensor(lora, {f"{Q_PROJ}.lora_A.weight": a, f"{Q_PROJ}.lora_B.weight": b})
    assert "the config says 4" in rejected(lora, ShapeMismatch)
    for pattern in ("q_proj", r"layers\.\d+\.self_attn\.q_proj", "model.layers.0.self_attn.q_proj"):
        reconfigure(lora, rank_pattern={pattern: 2})
        verify_adapter(lora, fakes.contract(lora))
    reconfigure(lora, rank_pattern={"proj": 2})  # a suffix of no whole name
    assert "the config says 4" in rejected(lora, ShapeMismatch)


def test_a_rank_pattern_above_the_limit_is_too_large_as_well(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "a")
    a, b = np.ones((64, fakes.HIDDEN)), np.ones((fakes.HIDDEN, 64))
    retensor(folder, {f"{Q_PROJ}.lora_A.weight": a, f"{Q_PROJ}.lora_B.weight": b})
    reconfigure(folder, rank_pattern={"q_proj": 64})
    manifest = fakes.contract(folder)
    honest = manifest.weights.model_copy(update={"rank": 64})
    manifest = manifest.model_copy(update={"weights": honest})
    assert "rank 64" in refused(folder, manifest, RankTooLarge, max_rank=16)
    verify_adapter(folder, manifest, max_rank=64)


@pytest.mark.parametrize("side", ["A", "B"])
def test_half_a_module_is_a_mismatch(lora: Path, side: str) -> None:
    retensor(lora, {f"{Q_PROJ}.lora_{side}.weight": None})
    assert "expected A and B" in rejected(lora, ShapeMismatch)


def test_two_ranks_in_one_module_are_a_mismatch(lora: Path) -> None:
    retensor(lora, {f"{Q_PROJ}.lora_A.weight": np.ones((3, fakes.HIDDEN))})
    assert "ranks A 3 and B 4" in rejected(lora, ShapeMismatch)


def test_an_empty_tensor_is_a_mismatch(lora: Path) -> None:
    retensor(lora, {f"{Q_PROJ}.lora_A.weight": np.ones((0, fakes.HIDDEN))})
    assert "is empty" in rejected(lora, ShapeMismatch)


def test_shapes_of_another_base_are_a_mismatch(lora: Path, base: Path) -> None:
    retensor(lora, {f"{UP_PROJ}.lora_B.weight": np.ones((fakes.INNER + 1, 4))})
    verify_adapter(lora, fakes.contract(lora))
    assert "(16, 8) in the base" in rejected(lora, ShapeMismatch, base=base)


def test_a_module_that_the_base_does_not_have_is_a_mismatch(lora: Path, base: Path) -> None:
    key = "base_model.model.model.layers.1.q_proj"
    retensor(
        lora, {f"{key}.lora_A.weight": np.ones((4, 8)), f"{key}.lora_B.weight": np.ones((8, 4))}
    )
    verify_adapter(lora, fakes.contract(lora))
    assert "no module model.layers.1.q_proj" in rejected(lora, ShapeMismatch, base=base)


def test_a_base_that_is_not_there_is_not_the_adapters_fault(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound):
        verify_adapter(lora, fakes.contract(lora), base=tmp_path / "absent")


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.lm_head.modules_to_save.weight",
        f"{Q_PROJ}.lora_magnitude_vector",
        f"{Q_PROJ}.lora_B.bias",
        f"{Q_PROJ}.lora_E.weight",
        f"{Q_PROJ}.ia3_l",
        "model.layers.0.self_attn.q_proj.weight",
    ],
)
def test_a_tensor_that_is_no_lora_matrix_is_unsupported(lora: Path, key: str) -> None:
    retensor(lora, {key: np.ones((4, 8))})
    assert key in rejected(lora, UnsupportedAdapter)


def test_a_matrix_has_two_dimensions(lora: Path) -> None:
    retensor(lora, {f"{Q_PROJ}.lora_A.weight": np.ones((4, 8, 1))})
    assert "(4, 8, 1)" in rejected(lora, UnsupportedAdapter)


def test_numbers_of_another_kind_are_unsupported(lora: Path) -> None:
    retensor(lora, dtype="float64")
    assert "F64; expected one of BF16, F16, F32" in rejected(lora, UnsupportedAdapter)


# Values


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_found(lora: Path, dtype: str, value: float) -> None:
    weights = np.ones((fakes.INNER, 4))
    weights[-1, -1] = value
    retensor(lora, {f"{UP_PROJ}.lora_B.weight": weights}, dtype=dtype)
    assert "NaN or infinity" in rejected(lora, NonFiniteWeights)


@pytest.mark.parametrize(
    ("dtype", "largest"), [("float32", 3e38), ("float16", 65504.0), ("bfloat16", 3e38)]
)
def test_the_largest_and_smallest_numbers_are_numbers(
    lora: Path, dtype: str, largest: float
) -> None:
    weights = np.full((fakes.INNER, 4), largest)
    weights[0] = [-largest, 0.0, -0.0, 1e-40]
    retensor(lora, {f"{UP_PROJ}.lora_B.weight": weights}, dtype=dtype)
    verify_adapter(lora, fakes.contract(lora))


# Files that are no safetensors


def _overlap(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}
    keys = (f"{Q_PROJ}.lora_A.weight", f"{Q_PROJ}.lora_B.weight")
    fakes.write_safetensors(path, dict.fromkeys(keys, entry), b"\0" * 16)


def _beyond_the_end(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}
    fakes.write_safetensors(path, {f"{Q_PROJ}.lora_A.weight": entry}, b"")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 8),
        lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"),
        lambda path: path.write_bytes((2**64 - 1).to_bytes(8, "little") + b"{}"),
        lambda path: path.write_bytes((10**6).to_bytes(8, "little") + b"{}"),
        lambda path: path.write_bytes((2).to_bytes(8, "little") + b"{]"),
        lambda path: path.write_bytes((2).to_bytes(8, "little") + b"\xff\xff"),
        lambda path: fakes.write_safetensors(path, []),
        lambda path: fakes.write_safetensors(path, {}),
        lambda path: fakes.write_safetensors(path, {"__metadata__": {"format": "pt"}}),
        lambda path: fakes.write_safetensors(path, {"a": {"dtype": "F32"}}),
        lambda path: fakes.write_safetensors(path, json.loads("[" * 500 + "]" * 500)),
        _overlap,
        _beyond_the_end,
        lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 100),
    ],
)
def test_a_file_that_is_no_safetensors_is_corrupt(
    lora: Path, write: Callable[[Path], None]
) -> None:
    write(lora / WEIGHTS)
    assert WEIGHTS in rejected(lora, FileCorrupt)
