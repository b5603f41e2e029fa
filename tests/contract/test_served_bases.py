"""The list of bases that are served with LoRA, held against vLLM's own classes."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from adapters import served_bases

WITHOUT = ("bloom", "gpt2", "gpt_neo", "marian", "mbart", "t5")


def has_lora(model_type: str) -> bool:
    """Whether vLLM's class for the architecture that transformers names says SupportsLoRA."""
    from vllm.model_executor.models import registry
    from vllm.model_executor.models.interfaces import supports_lora

    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if architecture not in registry._VLLM_MODELS:
        return False
    module, name = registry._VLLM_MODELS[architecture]
    try:
        found = importlib.import_module(f"vllm.model_executor.models.{module}")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":  # a class with pictures, on a machine without
            raise
        return "SupportsLoRA" in bases_in_source(module, name)
    return bool(supports_lora(getattr(found, name)))


def bases_in_source(module: str, name: str) -> list[str]:
    """Return the base classes that a module of vLLM's models writes for a class."""
    spec = importlib.util.find_spec("vllm.model_executor.models")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / f"{module}.py"
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    return [ast.unparse(base) for c in classes if c.name == name for base in c.bases]


@pytest.mark.parametrize("model_type", sorted(served_bases._WITH_LORA))
def test_every_base_that_we_promise_to_serve_has_lora_in_vllm(model_type: str) -> None:
    """If this fails: take it out of adapters/served_bases.py, and say so in the CHANGELOG."""
    assert has_lora(model_type)


@pytest.mark.parametrize("model_type", WITHOUT)
def test_bases_that_we_refuse_to_publish_for_have_none(model_type: str) -> None:
    """If this fails: vLLM learnt it; add it to adapters/served_bases.py."""
    assert not served_bases.can_serve_lora(model_type)
    assert not has_lora(model_type)
