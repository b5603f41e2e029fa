from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests import llama_cpp
from loadtests.gguf_files import NotConvertible, lora_tensor_name, write_lora_gguf
from tests import fakes

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize(
    ("peft", "ours"),
    [
        ("layers.3.mlp.up_proj.lora_A", "blk.3.ffn_up.weight.lora_a"),
        ("layers.12.self_attn.o_proj.lora_B", "blk.12.attn_output.weight.lora_b"),
    ],
)
def test_tensors_get_the_names_that_llama_cpp_looks_for(peft: str, ours: str) -> None:
    assert lora_tensor_name(f"base_model.model.model.{peft}.weight") == ours


def test_tensor_that_llama_cpp_has_not_is_refused() -> None:
    with pytest.raises(NotConvertible, match="linear layers only"):
        lora_tensor_name("base_model.model.model.embed_tokens.lora_embedding_A")


def test_adapter_becomes_a_gguf_of_the_same_weights(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "lora", rank=4)
    reader = gguf.GGUFReader(write_lora_gguf(folder, tmp_path / "lora.gguf"))
    assert reader.fields["adapter.type"].contents() == "lora"
    assert reader.fields["adapter.lora.alpha"].contents() == 8
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 4
    found = tensors["blk.0.ffn_up.weight.lora_a"]
    expected = fakes.lora_tensors(4)["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]
    values = gguf.quants.dequantize(found.data, found.tensor_type)
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0.01)


def test_every_request_to_llama_cpp_sets_all_adapters() -> None:
    fields = llama_cpp.fields(["a", "b"])
    assert fields["b"]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    assert fields[llama_cpp.BASE]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
