"""Which of our plugins are in force in this process.

vLLM only logs a plugin that fails to load. Each of ours leaves a marker, and nothing is served
until every marker is there (fail closed).
"""

from __future__ import annotations

from typing import Final

API_PROCESS: Final = frozenset({"engine_guard", "stats", "api"})
WORKER: Final = frozenset({"engine_guard"})

_set: set[str] = set()


def set_marker(name: str) -> None:
    """Note that plugin `name` is in force in this process."""
    _set.add(name)


def present() -> frozenset[str]:
    """Return the plugins that are in force in this process."""
    return frozenset(_set)
