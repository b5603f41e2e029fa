"""Which of our plugins are in force in this process.

vLLM only logs a plugin that fails to load. Each of ours leaves a marker, and nothing is served
until every marker is there (fail closed).
"""

from __future__ import annotations

import os
from typing import Final

from serving.vllm_compat import is_cpu_build

API_PROCESS: Final = frozenset({"engine_guard", "stats", "api"})
_WORKER: Final = frozenset({"engine_guard", "adapter_store"})
ENGINE_CORE: Final = frozenset({"engine_guard", "scheduler"})

_set: set[str] = set()


def worker() -> frozenset[str]:
    """Return what must be in force in a worker of the installed vLLM."""
    # With VLLM_TARGET_DEVICE vLLM takes its own CPU platform without asking any plugin.
    asks_plugins = is_cpu_build() and os.environ.get("VLLM_TARGET_DEVICE") != "cpu"
    return _WORKER | {"cpu_lora"} if asks_plugins else _WORKER


def set_marker(name: str) -> None:
    """Note that plugin `name` is in force in this process."""
    _set.add(name)


def present() -> frozenset[str]:
    """Return the plugins that are in force in this process."""
    return frozenset(_set)
