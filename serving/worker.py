"""Worker extension: what the API process may ask of each worker."""

from __future__ import annotations

from serving import markers
from serving.vllm_compat import resident_adapters


class WorkerExtension:
    """Mixed into vLLM's worker; method names carry our prefix, since vLLM forbids clashes."""

    def dragoman_markers(self) -> list[str]:
        """Return the plugins that are in force in the worker's process."""
        return sorted(markers.present())

    def dragoman_residency(self) -> tuple[list[int], list[int]]:
        """Return the LoRA ids in the engine's slots, and those in the CPU cache."""
        active, cached = resident_adapters(self)
        return sorted(active), sorted(cached)
