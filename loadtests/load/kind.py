"""The servers that a load test can start."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Ours and its peers, on the same base with the same adapters."""

    DRAGOMAN = "dragoman"
    VLLM = "vllm"
    LLAMA_CPP = "llama.cpp"
    PEFT = "peft"
