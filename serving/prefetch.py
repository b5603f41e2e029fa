"""Versions that will be asked for, brought into memory before somebody waits for them.

When a name of an adapter with traffic moves, or a version is published under it, the new version
is loaded beside the traffic; after a restart those used last come back. A prefetch never takes the
place of a version that is in use or was used more recently.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from adapters.errors import DragomanError
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import Published, Registry
from serving.resolver import Resolved

_LOOK_S: Final = 1.0
# How long traffic counts as recent; and how many adapters of recent traffic are followed.
_RECENT_S: Final = 600.0
_MOST: Final = 256
_SAVE_S: Final = 10.0
logger = logging.getLogger("vllm.dragoman")


class Opener(Protocol):
    """What this needs of the resolver."""

    async def open(self, published: Published, *, idle_s: float = 0.0) -> Callable[[], None]:
        """Return, once a version is loaded, what to call when it is no longer used."""
        ...


@dataclass
class _Recent:
    """An adapter with traffic: the version used last, and what its names meant when looked at."""

    last: Published
    used_at: float
    stamp: object = None
    versions: frozenset[int] = frozenset()


class Prefetcher:
    """Follows the adapters of recent traffic, and keeps the pinned ones loaded for ever."""

    def __init__(
        self,
        registry: Registry,
        opener: Opener,
        pin: Callable[[list[str]], Any],
        *,
        pinned: Iterable[AdapterId] = (),
        state: Path | None = None,
    ) -> None:
        """Tell `pin` the engine's names of what is pinned; keep what was used last in `state`."""
        self._registry = registry
        self._opener = opener
        self._pin = pin
        self._pinned = tuple(pinned)
        self._held: dict[AdapterId, tuple[Published, Callable[[], None]]] = {}
        self._state = state
        self._saved: list[str] = []
        self._recent: OrderedDict[AdapterId, _Recent] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def note(self, resolved: Resolved) -> None:
        """Note one use of a version."""
        adapter_id = resolved.manifest.id
        recent = self._recent.get(adapter_id)
        if recent is None:
            recent = self._recent[adapter_id] = _Recent(resolved.published, 0.0)
            if len(self._recent) > _MOST:
                self._recent.popitem(last=False)
        recent.last, recent.used_at = resolved.published, time.monotonic()
        self._recent.move_to_end(adapter_id)

    async def load_pinned(self) -> None:
        """Load what the pinned adapters' ids mean now, and hold it instead of what they meant."""
        for adapter_id in self._pinned:
            try:
                published = await self._resolve(AdapterRef(adapter_id))
                before = self._held.get(adapter_id)
                if before is None or before[0] != published:
                    self._held[adapter_id] = published, await self._opener.open(published)
                    if before is not None:
                        before[1]()
            except DragomanError as error:
                logger.warning("pinned %s is not loaded: %s", adapter_id, error)
        self._pin([published.name for published, _ in self._held.values()])

    async def load_last_used(self) -> None:
        """Bring back what the run before this one used last."""
        for name in await asyncio.to_thread(self._read_state):
            with suppress(DragomanError):
                await self._prefetch(await self._resolve(AdapterRef.parse(name)), _RECENT_S)

    def follow(self) -> None:
        """Do all of this from now on."""
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        await self.load_last_used()
        saved_at = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
                await self.load_pinned()
                if time.monotonic() - saved_at > _SAVE_S:
                    saved_at = time.monotonic()
                    await asyncio.to_thread(self._save)
            except Exception:
                # What is not prefetched is loaded when it is asked for.
                logger.warning("prefetching failed", exc_info=True)

    async def look(self) -> None:
        """Load what is new under adapters of recent traffic."""
        since = time.monotonic() - _RECENT_S
        for adapter_id in [i for i, recent in self._recent.items() if recent.used_at < since]:
            del self._recent[adapter_id]
        news = await asyncio.to_thread(self._news, list(self._recent.items()))
        for recent, refs in news:
            for ref in refs:
                with suppress(DragomanError):
                    idle_s = max(0.001, time.monotonic() - recent.used_at)
                    await self._prefetch(await self._resolve(ref), idle_s)

    def _news(
        self, followed: list[tuple[AdapterId, _Recent]]
    ) -> list[tuple[_Recent, list[AdapterRef]]]:
        news = []
        for adapter_id, recent in followed:
            with suppress(DragomanError):
                stamp = self._registry.stamp(adapter_id)
                if stamp == recent.stamp:
                    continue
                numbers = self._registry.numbers(adapter_id)
                versions = {*self._registry.aliases(adapter_id).values(), *numbers[-1:]}
                if recent.stamp is not None:
                    new = sorted(versions - recent.versions)
                    news.append((recent, [AdapterRef(adapter_id, str(n)) for n in new]))
                recent.stamp, recent.versions = stamp, frozenset(versions)
        return news

    async def _prefetch(self, published: Published, idle_s: float) -> None:
        (await self._opener.open(published, idle_s=idle_s))()

    async def _resolve(self, ref: AdapterRef) -> Published:
        return await asyncio.to_thread(self._registry.resolve, ref)

    def _read_state(self) -> list[str]:
        try:
            names = json.loads(self._state.read_bytes()) if self._state else []
        except (OSError, ValueError):
            return []  # the first run, or a damaged file: nothing to bring back
        return [name for name in names if isinstance(name, str)][:_MOST]

    def _save(self) -> None:
        last = [recent.last.manifest for recent in reversed(self._recent.values())]
        names = [f"{manifest.id}@{manifest.version}" for manifest in last]
        if self._state is None or names in ([], self._saved):
            return
        self._saved = names
        with suppress(OSError):  # a read-only home costs cold starts only
            self._state.parent.mkdir(parents=True, exist_ok=True)
            draft = self._state.with_suffix(".draft")
            draft.write_text(json.dumps(names), encoding="utf-8")
            draft.replace(self._state)
