from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import (
    FileCorrupt,
    FileMissing,
    UnsafeFile,
    UnsupportedAdapter,
)
from adapters.manifest import FileHash
from adapters.verify import read_peft_config, verify_adapter
from tests import fakes
from tests.adapters.rejections import (
    CONFIG,
    WEIGHTS,
    reconfigure,
    refused,
    rejected,
)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_whole_adapter_passes_and_fits_its_base(tmp_path: Path, base: Path, dtype: str) -> None:
    folder = fakes.write_lora(tmp_path / "a", dtype=dtype)
    verify_adapter(folder, fakes.contract(folder), max_rank=4, base=base)


def test_companions_beside_the_weights_are_no_harm(lora: Path) -> None:
    for name in ("README.md", "report.html", "manifest.json"):
        (lora / name).write_text("x")
    verify_adapter(lora, fakes.contract(lora))


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


def test_a_truncated_file_is_found_by_its_size_and_by_its_content(lora: Path) -> None:
    manifest = fakes.contract(lora)
    data = (lora / WEIGHTS).read_bytes()
    (lora / WEIGHTS).write_bytes(data[:-4])
    assert f"expected {len(data)} bytes" in refused(lora, manifest, FileCorrupt)
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
