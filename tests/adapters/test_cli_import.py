from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dragoman
from adapters.base_model import BaseModelRef
from adapters.ids import AdapterRef
from adapters.registry import FileRegistry
from tests import fakes
from tests.adapters.ran import Run, one_line


def test_a_peft_folder_becomes_a_version_with_its_base_detected(
    run: Run, fetched: Path, lora: Path, registry: FileRegistry
) -> None:
    # What transformers' Trainer leaves beside the weights is neither read nor copied.
    (lora / "training_args.bin").write_bytes(b"pickle")
    ran = run("import", lora, "--id", "law-en-de", "--licence", "CC0-1.0", "--json",
              "--user", "To {target}: {text}", "--system", "Brief.")  # fmt: skip
    assert ran.code == 0
    assert (ran.json["version"], ran.json["base"]) == (1, "tiny")
    assert "no golden answer" in ran.err
    manifest = registry.resolve(AdapterRef.parse("law-en-de")).manifest
    assert manifest.base == BaseModelRef.read(fetched)
    assert manifest.prompt == fakes.prompt_format(user="To {target}: {text}", system="Brief.")
    assert (manifest.weights.rank, manifest.weights.alpha) == (4, 8)
    assert manifest.weights.target_modules == ("q_proj", "up_proj")
    assert run("verify", "law-en-de", "--base", "tiny").code == 0


def test_the_base_may_be_named_by_the_hub_id_that_it_was_fetched_from(
    run: Run, fetched: Path, lora: Path
) -> None:
    fakes.write_json(fetched / "dragoman-base.json", {"name": "tiny", "source": "hub:org/Big"})
    fakes.write_json(
        lora / "adapter_config.json", fakes.lora_config(base_model_name_or_path="org/Big")
    )
    assert run("import", lora, "--id", "law-en-de", "--licence", "CC0-1.0").code == 0


def test_a_prompt_file_stands_for_the_bases_own(
    run: Run, fetched: Path, lora: Path, tmp_path: Path, registry: FileRegistry
) -> None:
    (tmp_path / "p.json").write_text(fakes.prompt_format(user="{text}!").model_dump_json())
    arguments = ("import", lora, "--id", "law-en-de", "--licence", "x", "--prompt")
    assert run(*arguments, tmp_path / "p.json").code == 0
    assert registry.resolve(AdapterRef.parse("law-en-de")).manifest.prompt.user == "{text}!"
    (tmp_path / "p.json").write_text('{"user": 1}')
    assert "chat_template" in one_line(run(*arguments, tmp_path / "p.json"), "prompt_invalid")


def test_an_adapter_of_several_pairs_needs_them_named(
    run: Run, fetched: Path, lora: Path, registry: FileRegistry
) -> None:
    arguments = ("import", lora, "--id", "law-mul", "--licence", "x")
    ran = run(*arguments)
    assert ran.code == 2
    assert "--pair" in ran.err
    assert run(*arguments, "--pair", "en-de", "--pair", "de-en").code == 0
    pairs = registry.resolve(AdapterRef.parse("law-mul")).manifest.pairs
    assert [str(p) for p in pairs] == ["en-de", "de-en"]
    one_line(run(*arguments, "--pair", "en-de", "--pair", "en-de"), "manifest_invalid")


@pytest.mark.parametrize("given", [("--id", "law-en-de"), ("--licence", "x"), ()])
def test_without_a_terminal_what_is_missing_is_bad_usage(
    run: Run, fetched: Path, lora: Path, given: tuple[str, ...]
) -> None:
    ran = run("import", lora, *given)
    assert ran.code == 2
    assert "missing option" in ran.err


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _of_another_base(folder: Path) -> None:
    tensors = {name: values[:, :3] if "lora_A" in name else values
               for name, values in fakes.lora_tensors().items()}  # fmt: skip
    fakes.write_tensors(folder / "adapter_model.safetensors", tensors)


def _config(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        fakes.write_json(folder / "adapter_config.json", fakes.lora_config(**changes))

    return write


@pytest.mark.parametrize(
    ("spoil", "code", "next_step"),
    [
        (_pickled, "file_missing", "safe_serialization"),
        (_of_another_base, "shape_mismatch", "another base"),
        (_config(use_dora=True), "unsupported_adapter", "merge it"),
        (_config(base_model_name_or_path="absent"), "base_model_not_found", "--base"),
        (_config(base_model_name_or_path=None), "base_model_not_found", "--base"),
    ],
)
def test_what_cannot_be_served_is_not_imported(
    run: Run,
    fetched: Path,
    lora: Path,
    registry: FileRegistry,
    spoil: Callable[[Path], None],
    code: str,
    next_step: str,
) -> None:
    spoil(lora)
    assert next_step in one_line(run("import", lora, "--id", "law-en-de", "--licence", "x"), code)
    assert registry.ids() == []


def test_on_a_terminal_id_and_licence_are_asked_for(
    fetched: Path, lora: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, dragoman.__file__, "adapters", "import", str(lora), "--json"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "DRAGOMAN_HOME": str(tmp_path / "home"),
            "DRAGOMAN_REGISTRY": str(registry.root),
        },
        text=True,
    )
    os.write(ours, b"law-en-de\nCC0-1.0\n")
    out, err = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert json.loads(out)["id"] == "law-en-de"
    assert "Licence" in err, "questions are no part of the result"
    assert registry.resolve(AdapterRef.parse("law-en-de")).manifest.licence == "CC0-1.0"
