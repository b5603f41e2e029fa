"""From the `model` of a request to one verified version that the engine holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from adapters.base_model import BaseModelRef
from adapters.errors import (
    AdapterNotFound,
    AdapterRejected,
    BaseModelMismatch,
    DragomanError,
    InvalidId,
)
from adapters.ids import AdapterRef
from adapters.manifest import AdapterManifest
from adapters.registry import Published, Registry
from adapters.verify import verify_adapter

_NEAREST: Final = 3


@dataclass(frozen=True)
class RunningBase:
    """The base model that this server runs."""

    ref: BaseModelRef
    folder: Path
    served_name: str


@dataclass(frozen=True)
class Resolved:
    """One version that is ready to answer, and why a request got it."""

    published: Published
    lora_int_id: int
    route: str

    @property
    def manifest(self) -> AdapterManifest:
        """The version's contract."""
        return self.published.manifest

    @property
    def name(self) -> str:
        """The name by which the engine knows the weights: `id@digest12`."""
        return self.published.name


# Puts verified weights into the engine: (name, lora_int_id, folder).
EngineLoader = Callable[[str, int, Path], Awaitable[None]]


class Resolver:
    """Names to versions, each verified once and loaded before its first request enters a batch."""

    def __init__(
        self,
        registry: Registry,
        base: RunningBase,
        *,
        max_rank: int,
        alias_ttl_s: float,
        load: EngineLoader,
    ) -> None:
        self._registry = registry
        self._base = base
        self._max_rank = max_rank
        self._alias_ttl_s = alias_ttl_s
        self._load = load
        self._names: dict[AdapterRef, tuple[float, Published]] = {}
        self._open: dict[str, asyncio.Task[None]] = {}

    async def resolve(self, model: str) -> Resolved:
        """Return the version that `model` means now, loaded.

        Raises AdapterNotFound with the nearest ids, AdapterRejected or BaseModelMismatch; the
        engine and all other adapters are then untouched.
        """
        try:
            ref = AdapterRef.parse(model)
        except InvalidId as error:
            raise await asyncio.to_thread(self._not_found, model) from error
        published = await self._published(ref)
        await self._opened(published)
        return Resolved(published, lora_int_id(published), route=f"name:{ref.selector}")

    async def _published(self, ref: AdapterRef) -> Published:
        # A version or digest never changes its meaning; an alias may, once a second is enough.
        pinned = ref.version is not None or ref.digest is not None
        known = self._names.get(ref)
        if known and (pinned or time.monotonic() - known[0] < self._alias_ttl_s):
            return known[1]
        published = await asyncio.to_thread(self._registry.resolve, ref)
        self._names[ref] = (time.monotonic(), published)
        return published

    async def _opened(self, published: Published) -> None:
        # One task per version: concurrent first requests wait for the same verification.
        task = self._open.get(published.name)
        if task is None:
            task = asyncio.create_task(self._verify_and_load(published))
            self._open[published.name] = task
        try:
            await asyncio.shield(task)
        except DragomanError:
            if self._open.get(published.name) is task:
                del self._open[published.name]
            raise

    async def _verify_and_load(self, published: Published) -> None:
        await asyncio.to_thread(self._verify, published)
        try:
            await self._load(published.name, lora_int_id(published), published.folder)
        except Exception as error:
            raise AdapterRejected(
                f"{published.name}: the engine could not load it ({error}); "
                f"check it with `dragoman adapters verify {published.manifest.id}`"
            ) from error

    def _verify(self, published: Published) -> None:
        manifest = published.manifest
        if manifest.base.fingerprint != self._base.ref.fingerprint:
            raise BaseModelMismatch(
                f"{manifest.id}@{manifest.version} was trained on {manifest.base}, this server "
                f"runs {self._base.ref}; retrain it, or route to a server of that base"
            )
        verify_adapter(published.folder, manifest, max_rank=self._max_rank, base=self._base.folder)

    def _not_found(self, model: str) -> AdapterNotFound:
        known = [self._base.served_name, *map(str, self._registry.ids())]
        nearest = get_close_matches(model, known, n=_NEAREST, cutoff=0.4) or known[:_NEAREST]
        return AdapterNotFound(f"model {model!r} does not exist; nearest: {', '.join(nearest)}")


def lora_int_id(published: Published) -> int:
    """Return the engine's number for a version: positive, 63 bits of the digest."""
    digits = published.manifest.digest.removeprefix("sha256:")[:16]
    return (int(digits, 16) & (2**63 - 1)) or 1
