from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters import base_model
from adapters.base_model import BaseModelRef, fingerprint, read_card, weight_shapes
from adapters.errors import BaseModelNotFound
from tests import fakes


def edit(path: Path, **changes: Any) -> None:
    fakes.write_json(path, {**json.loads(path.read_text()), **changes})


def test_a_reference_names_the_folder_or_what_its_card_says(base: Path) -> None:
    ref = BaseModelRef.read(base)
    assert (ref.name, ref.revision, ref.vocab_size) == ("tiny", None, fakes.VOCAB_SIZE)
    fakes.write_json(base / "dragoman-base.json", {"name": "gemma", "revision": 3})
    assert BaseModelRef.read(base).name == "gemma"
    assert BaseModelRef.read(base).revision == "3"
    assert str(BaseModelRef.read(base)).startswith("gemma (sha256:")


@pytest.mark.parametrize(
    "change",
    [
        lambda base: edit(base / "config.json", hidden_size=9),
        lambda base: edit(base / "config.json", text_config={"rope_theta": 1}),
        lambda base: (base / "tokenizer.json").write_text("{}"),
        lambda base: (base / "merges.txt").write_text("a b"),
        lambda base: fakes.write_base(base, seed=1),
        lambda base: shutil.copy(base / "model.safetensors", base / "more.safetensors"),
    ],
    ids=["config", "inner config", "tokenizer", "merges", "weights", "another shard"],
)
def test_what_decides_the_outputs_changes_the_fingerprint(base: Path, change: Any) -> None:
    before = fingerprint(base)
    change(base)
    assert fingerprint(base) != before


def test_what_decides_nothing_leaves_the_fingerprint(base: Path, tmp_path: Path) -> None:
    before = fingerprint(base)
    edit(base / "config.json", _name_or_path="x", dtype="bfloat16", transformers_version="9")
    edit(base / "config.json", torch_dtype="float32")
    fakes.write_json(base / "dragoman-base.json", {"name": "other"})
    (base / "README.md").write_text("x")
    moved = base.rename(tmp_path / "another-name")
    (moved / base_model._CACHE_FILE).unlink()
    assert fingerprint(moved) == before


def test_notes_inside_a_text_config_leave_the_fingerprint(base: Path) -> None:
    edit(base / "config.json", text_config={"a": 1})
    before = fingerprint(base)
    edit(base / "config.json", text_config={"a": 1, "dtype": "bfloat16"})
    assert fingerprint(base) == before


def test_weights_are_hashed_once_until_they_change(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = base_model._sha256_of_file

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(base_model, "_sha256_of_file", counted)
    first = fingerprint(base)
    assert "model.safetensors" in hashed
    hashed.clear()
    assert fingerprint(base) == first
    assert not hashed

    os.utime(base / "model.safetensors", ns=(1, 1))
    assert fingerprint(base) == first
    assert "model.safetensors" in hashed


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stamp": 1}', "null"])
def test_a_broken_cache_is_made_anew(base: Path, content: str) -> None:
    before = fingerprint(base)
    cache = base / base_model._CACHE_FILE
    cache.write_text(content)
    assert fingerprint(base) == before
    assert json.loads(cache.read_text())["fingerprint"] == before


def test_a_cache_with_another_fingerprint_text_is_not_believed(base: Path) -> None:
    before = fingerprint(base)
    edit(base / base_model._CACHE_FILE, fingerprint="sha256:x")
    assert fingerprint(base) == before


def test_a_folder_that_cannot_be_written_is_hashed_every_time(base: Path) -> None:
    code = (
        "import resource, signal; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from adapters.base_model import fingerprint\n"
        f"print(fingerprint(Path({str(base)!r})))"
    )
    assert resource.RLIMIT_FSIZE is not None
    found = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True
    )
    assert [p.name for p in base.glob(".dragoman*")] == []
    assert found.stdout.strip() == fingerprint(base)


def test_a_read_only_file_system_that_refuses_even_to_remove_is_no_error(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    expected = fingerprint(base)
    (base / base_model._CACHE_FILE).unlink()
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert fingerprint(base) == expected


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("config.json", "dragoman base fetch"),
        ("model.safetensors", "convert"),
        ("tokenizer.json", "tokenizer"),
    ],
)
def test_a_missing_file_is_named_with_the_next_step(base: Path, name: str, next_step: str) -> None:
    (base / name).unlink()
    with pytest.raises(BaseModelNotFound, match=next_step) as caught:
        BaseModelRef.read(base)
    assert str(base) in str(caught.value)


def test_a_missing_folder_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="no such folder; `dragoman base fetch absent`"):
        BaseModelRef.read(tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_a_config_that_is_no_object_is_no_base(base: Path, content: str) -> None:
    (base / "config.json").write_text(content)
    with pytest.raises(BaseModelNotFound, match="not a base model folder"):
        BaseModelRef.read(base)


@pytest.mark.parametrize("size", [None, 0, "many"])
def test_a_config_without_vocabulary_is_no_language_model(base: Path, size: object) -> None:
    edit(base / "config.json", vocab_size=size)
    with pytest.raises(BaseModelNotFound, match="vocab_size"):
        BaseModelRef.read(base)


def test_the_vocabulary_may_stand_in_a_text_config(base: Path) -> None:
    edit(base / "config.json", vocab_size=None, text_config={"vocab_size": 7})
    assert BaseModelRef.read(base).vocab_size == 7


def test_a_shard_that_the_index_names_must_be_there(base: Path) -> None:
    index = base / "model.safetensors.index.json"
    fakes.write_json(index, {"weight_map": {"a": "model.safetensors"}})
    fingerprint(base)
    fakes.write_json(index, {"weight_map": {"a": "model-00002.safetensors"}})
    with pytest.raises(BaseModelNotFound, match=r"model-00002\.safetensors"):
        fingerprint(base)


def test_shapes_are_read_from_every_shard(base: Path) -> None:
    (base / "model.safetensors").rename(base / "a.safetensors")
    fakes.write_tensors(base / "b.safetensors", {"extra": np.zeros((2, 3))})
    shapes = weight_shapes(base)
    assert shapes["extra"] == (2, 3)
    assert shapes["model.layers.0.mlp.up_proj.weight"] == (fakes.INNER, fakes.HIDDEN)


def test_a_broken_shard_is_named(base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BaseModelNotFound, match=r"model\.safetensors"):
        weight_shapes(base)


def test_no_card_is_an_empty_card_and_a_broken_one_is_an_error(base: Path) -> None:
    assert read_card(base) == {}
    assert read_card(base / "absent") == {}
    (base / "dragoman-base.json").write_text("{")
    with pytest.raises(BaseModelNotFound, match=r"dragoman-base\.json.*fetch"):
        read_card(base)
