"""Platform plugin: vLLM's own CPU platform, but LoRA is computed by our kernel."""

from __future__ import annotations

from typing import Any

from serving.settings import handed_over
from serving.vllm_compat import cpu_platform, is_cpu_build


def platform_plugin() -> str | None:
    """Return the class to use; None leaves vLLM's choice, as in a vLLM that is not ours."""
    if handed_over() is None or not is_cpu_build():
        return None
    return "serving.platform.DragomanCpuPlatform"


class DragomanCpuPlatform(cpu_platform()):  # type: ignore[misc]
    """The CPU platform that vLLM would have chosen, with another LoRA."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the class that applies LoRA to a layer's output."""
        return "serving.cpu_lora.GroupedPunicaWrapper"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """Let the model be compiled with LoRA, too: our LoRA is one opaque operator per module."""
        lora_config, vllm_config.lora_config = vllm_config.lora_config, None
        try:
            super().check_and_update_config(vllm_config)
        finally:
            vllm_config.lora_config = lora_config
