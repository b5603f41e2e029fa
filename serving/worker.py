"""Worker extension: what the API processes may ask of each worker."""

from __future__ import annotations

from typing import Any

from serving import markers
from serving.adapter_store import AdapterStore, State, Wanted
from serving.vllm_compat import adapter_store


class WorkerExtension:
    """Mixed into vLLM's worker; method names carry our prefix, since vLLM forbids clashes.

    Arguments and results cross process borders: they are what JSON knows.
    """

    def dragoman_markers(self) -> list[str]:
        """Return the plugins that are in force in the worker's process."""
        in_force = isinstance(adapter_store(self), AdapterStore)
        return sorted(markers.present() | ({"adapter_store"} if in_force else set()))

    def dragoman_lease(self, client: str, numbers: list[int]) -> list[bool]:
        """Return whether each version is in memory, and stays until `client` lets go of it."""
        store = adapter_store(self)
        return [bool(store.lease(client, number)) for number in numbers]

    def dragoman_load(self, client: str, wanted: list[dict[str, Any]]) -> list[State]:
        """Return the state of each version that is to be in memory; see AdapterStore.load."""
        store = adapter_store(self)
        return [
            store.load(client, Wanted(**{**one, "labels": tuple(one["labels"])})) for one in wanted
        ]

    def dragoman_report(
        self, client: str, leased: list[int], pinned: list[int], gone: list[int]
    ) -> dict[str, Any]:
        """Take in what `client` uses; return what is where. See AdapterStore.report."""
        report: dict[str, Any] = adapter_store(self).report(client, leased, pinned, gone)
        return report
