"""Our reader gives what vLLM's gives, bit for bit, and leaves the file behind."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.manifest import no_rest
from serving import vllm_compat
from serving.adapter_reading import AdapterReader
from tests import fakes

EXPECTED = {"q_proj", "up_proj"}


def read(reader: Any, folder: Path, **options: Any) -> Any:
    from vllm.lora.peft_helper import PEFTHelper

    facts = {"lora_model_id": 7, "device": "cpu", "dtype": torch.bfloat16, **options}
    return reader.from_local_checkpoint(
        str(folder), EXPECTED, PEFTHelper.from_local_dir(str(folder), None), **facts
    )


def flat(lora: Any) -> dict[str, Any]:
    for weights in lora.loras.values():
        weights.optimize()
    return {
        f"{name}.{side}": getattr(weights, side)
        for name, weights in lora.loras.items()
        for side in ("lora_a", "lora_b", "rank", "scaling")
    }


def write(folder: Path, *, dtype: str, **config: Any) -> Path:
    fakes.write_lora(folder, dtype=dtype)
    fakes.write_json(folder / "adapter_config.json", fakes.lora_config(**config))
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("config", [
    {},
    {"lora_alpha": 3},
    {"lora_alpha": 4},
    {"use_rslora": True},
    {"alpha_pattern": {"up_proj": 5}},
])  # fmt: skip
def test_it_gives_what_vllm_gives_bit_for_bit(
    tmp_path: Path, dtype: str, config: dict[str, Any]
) -> None:
    folder = write(tmp_path / "a", dtype=dtype, **config)
    rests: list[None] = []
    ours = flat(read(AdapterReader(lambda: rests.append(None)), folder))
    theirs = flat(read(vllm_compat.LoRAModel, folder))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == ours[name].dtype == torch.bfloat16
            assert torch.equal(value, ours[name]), name
        else:
            assert value == ours[name], name
    assert len(rests) > 4


def test_large_tensors_are_converted_in_portions(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "a")
    rng = np.random.default_rng(0)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{name}.lora_A.weight": rng.standard_normal((4, 10_001)),
        f"{name}.lora_B.weight": rng.standard_normal((10_001, 4)),
    }
    fakes.write_tensors(folder / "adapter_model.safetensors", tensors)
    ours, theirs = (
        flat(read(AdapterReader(no_rest), folder)),
        flat(read(vllm_compat.LoRAModel, folder)),
    )
    assert all(torch.equal(ours[n], v) for n, v in theirs.items() if isinstance(v, torch.Tensor))


def test_what_was_read_does_not_change_with_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", dtype="bfloat16")
    before = {n: v.clone() for n, v in tensors_of(read(AdapterReader(no_rest), folder))}
    lora = read(AdapterReader(no_rest), folder)
    weights = folder / "adapter_model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(16)  # a mapped file would end this process here
    assert all(torch.equal(before[name], value) for name, value in tensors_of(lora))


def tensors_of(lora: Any) -> list[tuple[str, torch.Tensor]]:
    return [(n, v) for n, v in flat(lora).items() if isinstance(v, torch.Tensor)]


@pytest.mark.parametrize("keep", [4, 100, 900])
def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path, keep: int) -> None:
    folder = write(tmp_path / "a", dtype="float32")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"restore|Expecting|Unterminated|JSON"):
        read(AdapterReader(no_rest), folder)


def test_what_is_no_plain_lora_is_vllms_to_judge(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "a")
    tensors = {
        key.replace("q_proj", "x_proj"): value for key, value in fakes.lora_tensors().items()
    }
    fakes.write_tensors(folder / "adapter_model.safetensors", tensors)
    with pytest.raises(ValueError, match="expected target modules"):
        read(AdapterReader(no_rest), folder)


def test_vllm_asks_of_its_tensors_only_what_ours_can() -> None:
    source = inspect.getsource(vllm_compat.LoRAModel.from_lora_tensors)
    tree = ast.parse(textwrap.dedent(source))
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "tensors"]
    assert len(uses) == 1, "another use of `tensors`: see adapter_reading._Rested"
    assert "tensors.items()" in source
