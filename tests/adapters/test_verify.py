from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.errors import (
    AdapterRejected,
    BaseModelNotFound,
    FileCorrupt,
    FileMissing,
    NonFiniteWeights,
    RankTooLarge,
    ShapeMismatch,
    UnsafeFile,
    UnsupportedAdapter,
)
from adapters.manifest import FileHash
from adapters.verify import read_peft_config, verify_adapter
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


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_whole_adapter_passes_and_fits_its_base(tmp_path: Path, base: Path, dtype: str) -> None:
    folder = fakes.write_lora(tmp_path / "a", dtype=dtype)
    verify_adapter(folder, fakes.contract(folder), max_rank=4, base=base)


def test_companions_beside_the_weights_are_no_harm(lora: Path) -> None:
    for name in ("README.md", "report.html", "manifest.json"):
        (lora / name).write_text("x")
    verify_adapter(lora, fakes.contract(lora))


# Files


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(lora: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    (lora / name).unlink()
    assert name in refused(lora, manifest, FileMissing)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_flipped_bit_is_found(lora: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    data = bytearray((lora / name).read_bytes())
    data[len(data) // 2] ^= 1
    (lora / name).write_bytes(data)
    assert "expected sha256" in refused(lora, manifest, FileCorrupt)


def test_a_truncated_file_is_found_by_its_hash_and_by_its_content(lora: Path) -> None:
    manifest = fakes.contract(lora)
    data = (lora / WEIGHTS).read_bytes()
    (lora / WEIGHTS).write_bytes(data[:-4])
    assert f"of {len(data)} bytes" in refused(lora, manifest, FileCorrupt)
    assert "not a readable safetensors file" in rejected(lora, FileCorrupt)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_that_the_manifest_does_not_name_is_no_part_of_it(lora: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    files = {n: h for n, h in manifest.weights.files.items() if n != name}
    weights = manifest.weights.model_copy(update={"files": files})
    partial = manifest.model_copy(update={"weights": weights})
    # Weights that nobody named are as unsafe as a stranger's.
    expected = UnsafeFile if name == WEIGHTS else FileCorrupt
    assert name in refused(lora, partial, expected)


@pytest.mark.parametrize(
    "name",
    ["adapter_model.bin", "adapter_model.pt", "X.PTH", "a.pkl", "a.ckpt", "more.safetensors"],
)
def test_other_weights_in_the_folder_are_unsafe(lora: Path, name: str) -> None:
    (lora / name).write_bytes(b"")
    assert name in rejected(lora, UnsafeFile)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_link_is_unsafe_even_to_the_right_content(lora: Path, tmp_path: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    (lora / name).rename(tmp_path / name)
    (lora / name).symlink_to(tmp_path / name)
    assert "links" in refused(lora, manifest, UnsafeFile)


def test_a_link_to_a_whole_folder_is_unsafe(lora: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(lora)
    assert "a link" in refused(tmp_path / "link", fakes.contract(lora), UnsafeFile)


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "", "/etc/passwd", "a/b", "a\0b", ".hidden", "x.bin", "é"]
)
def test_a_name_that_leaves_the_folder_is_unsafe(lora: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    (lora.parent / "secret").write_text("x")
    files = {**manifest.weights.files, name: FileHash(sha256="0" * 64, size_bytes=1)}
    weights = manifest.weights.model_copy(update={"files": files})
    evil = manifest.model_copy(update={"weights": weights})
    assert "no name for a file" in refused(lora, evil, UnsafeFile)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_in_place_of_a_file_is_a_missing_file(lora: Path, name: str) -> None:
    manifest = fakes.contract(lora)
    (lora / name).unlink()
    (lora / name).mkdir()
    refused(lora, manifest, FileMissing)


# The PEFT configuration


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"peft_type": "LOHA"},
        {"peft_type": None},
        {"use_dora": True},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [1]},
        {"fan_in_fan_out": True},
        {"use_qalora": True},
        {"use_bdlora": {"nblocks": 2}},
        {"alora_invocation_tokens": [1, 2]},
        {"layer_replication": [[0, 1]]},
        {"target_parameters": ["experts"]},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"kasa_config": {"beta": 1}},
    ],
    ids=str,
)
def test_what_vllm_cannot_serve_as_it_is_is_refused(lora: Path, changes: dict[str, Any]) -> None:
    reconfigure(lora, **changes)
    message = rejected(lora, UnsupportedAdapter)
    assert next(iter(changes)) in message
    assert "merge it" in message


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_inits_that_leave_the_base_alone_are_served(lora: Path, init: object) -> None:
    reconfigure(lora, init_lora_weights=init)
    verify_adapter(lora, fakes.contract(lora))


@pytest.mark.parametrize(
    "changes",
    [
        {"r": None},
        {"r": "4"},
        {"r": True},
        {"r": -4},
        {"lora_alpha": None},
        {"lora_alpha": "8"},
        {"lora_alpha": 0},
        {"lora_alpha": float("nan")},
        {"target_modules": None},
        {"target_modules": []},
        {"target_modules": [1]},
        {"rank_pattern": [1]},
        {"rank_pattern": {"q_proj": "2"}},
        {"rank_pattern": {"(": 2}},
        {"rank_pattern": {"(a+)+$": 2}},
        {"alpha_pattern": {"q_proj": None}},
        {"use_rslora": "yes"},
    ],
    ids=str,
)
def test_an_ill_formed_setting_is_named(lora: Path, changes: dict[str, Any]) -> None:
    fakes.write_json(lora / CONFIG, {**fakes.lora_config(), **changes})
    assert f"{next(iter(changes))} is" in rejected(lora, FileCorrupt)


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_configuration_that_is_no_json_is_corrupt(lora: Path, text: str) -> None:
    (lora / CONFIG).write_bytes(text.encode("latin-1"))
    assert "not readable JSON" in rejected(lora, FileCorrupt)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '"LORA"'])
def test_json_that_is_no_lora_is_unsupported(lora: Path, text: str) -> None:
    (lora / CONFIG).write_text(text)
    assert "peft_type" in rejected(lora, UnsupportedAdapter)


def test_a_configuration_is_read_from_a_folder_that_has_one(tmp_path: Path, lora: Path) -> None:
    assert read_peft_config(lora)["r"] == 4
    with pytest.raises(FileMissing, match="PEFT adapter folder"):
        read_peft_config(tmp_path)


# Ranks and shapes


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
