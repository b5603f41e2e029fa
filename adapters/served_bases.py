"""Which base models vLLM serves with LoRA adapters, by `model_type` of their config.json."""

from __future__ import annotations

from typing import Final

# Text models whose vLLM 0.32 class says SupportsLoRA; tests/contract holds this against vLLM.
_WITH_LORA: Final = frozenset(
    {
        "gemma", "gemma2", "gemma3", "gemma3_text", "glm4", "gpt_oss", "granite", "llama",
        "mistral", "mixtral", "nemotron", "opt", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    }
)  # fmt: skip


def can_serve_lora(model_type: str) -> bool:
    """Whether a base of `model_type` can be served with LoRA adapters beside each other."""
    return model_type in _WITH_LORA
