"""What can be asked for: each adapter of the registry, with the version that its id means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import DragomanError, InvalidId
from adapters.ids import STABLE, AdapterId, AdapterRef
from adapters.registry import Published, Registry
from serving.single_flight import SingleFlight


@dataclass(frozen=True)
class Entry:
    """One adapter: the version that its id means, and what every alias points to."""

    shown: Published
    aliases: Mapping[str, int]

    @property
    def name(self) -> str:
        """Its id, as a model's name."""
        return str(self.shown.manifest.id)

    def facts(self, residency: Mapping[str, str]) -> dict[str, Any]:
        """Return the `dragoman` part of a model's card; residency maps engine names to tiers."""
        manifest = self.shown.manifest
        return {
            "pairs": [str(pair) for pair in manifest.pairs],
            "domain": manifest.domain,
            "version": manifest.version,
            "aliases": dict(self.aliases),
            "digest": manifest.digest,
            "residency": residency.get(self.shown.name, "disk"),
            "scores": [score.model_dump(mode="json") for score in manifest.scores],
        }


class Catalogue:
    """The registry's adapters, looked up again when what was read is older than `ttl_s`.

    Manifests are read once: versions are immutable, so a listing costs the names and aliases.
    """

    def __init__(self, registry: Registry, *, ttl_s: float) -> None:
        self._registry = registry
        self._ttl_s = ttl_s
        self._read_at = float("-inf")
        self._entries: list[Entry] = []
        self._versions: dict[AdapterRef, Published] = {}
        self._reading: SingleFlight[None, list[Entry]] = SingleFlight()

    async def entries(self) -> list[Entry]:
        """Return every adapter that can be read, sorted by id."""
        if time.monotonic() - self._read_at < self._ttl_s:
            return self._entries
        return await self._reading.run(None, self._read)

    async def entry(self, name: str) -> Entry | None:
        """Return the adapter of that id, or None."""
        try:
            adapter_id = AdapterId.parse(name)
        except InvalidId:
            return None
        try:
            return await asyncio.to_thread(self._entry, adapter_id)
        except DragomanError:
            return None

    async def _read(self) -> list[Entry]:
        self._entries = await asyncio.to_thread(self._read_all)
        self._read_at = time.monotonic()
        # Anew, so that versions that are no longer shown are forgotten.
        self._versions = {_exact(entry.shown): entry.shown for entry in self._entries}
        return self._entries

    def _read_all(self) -> list[Entry]:
        entries = []
        for adapter_id in self._registry.ids():
            try:
                entries.append(self._entry(adapter_id))
            except DragomanError:
                # One unreadable adapter must not hide the others; asking for it says what is wrong.
                continue
        return entries

    def _entry(self, adapter_id: AdapterId) -> Entry:
        aliases = self._registry.aliases(adapter_id)
        ref = AdapterRef(adapter_id, str(aliases.get(STABLE, STABLE)))
        shown = self._versions.get(ref)
        if shown is None or not shown.folder.is_dir():
            shown = self._versions[ref] = self._registry.resolve(ref)
        return Entry(shown, aliases)


def _exact(version: Published) -> AdapterRef:
    return AdapterRef(version.manifest.id, str(version.manifest.version))
