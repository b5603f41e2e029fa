"""From the `model` of a request to one verified version that the engine holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Protocol

from adapters.base_model import BaseModelRef
from adapters.errors import (
    AdapterNotFound,
    BaseModelMismatch,
    InvalidId,
)
from adapters.ids import AdapterRef
from adapters.manifest import AdapterManifest
from adapters.registry import Published, Registry
from adapters.verify import verify_adapter
from serving.single_flight import SingleFlight

_NEAREST: Final = 3
_SHOWN: Final = 150


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


class Engine(Protocol):
    """What the resolver needs of the engine."""

    def holds(self, name: str) -> bool:
        """Return whether the weights of that name are in the engine's memory."""
        ...

    async def load(self, published: Published) -> None:
        """Put verified weights into the engine's memory. Raises AdapterRejected."""
        ...


class Resolver:
    """Names to versions, each verified and loaded before its first request enters a batch."""

    def __init__(
        self,
        registry: Registry,
        base: RunningBase,
        engine: Engine,
        *,
        max_rank: int,
        alias_ttl_s: float,
    ) -> None:
        self._registry = registry
        self._base = base
        self._engine = engine
        self._max_rank = max_rank
        self._alias_ttl_s = alias_ttl_s
        # Names that exist only: what clients ask for in vain must not fill the memory.
        self._names: dict[AdapterRef, tuple[float, Published]] = {}
        self._asking: SingleFlight[AdapterRef, Published] = SingleFlight()
        self._opening: SingleFlight[str, None] = SingleFlight()

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
        # Also when it was loaded before and evicted since: the engine itself would read it again
        # in the middle of a step, where a file that is gone by now ends the whole engine.
        if not self._engine.holds(published.name):
            await self._opening.run(published.name, lambda: self._open(published))
        return Resolved(published, lora_int_id(published), route=f"name:{ref.selector}")

    async def _published(self, ref: AdapterRef) -> Published:
        # A version or digest never changes its meaning; an alias may, once a second is enough.
        pinned = ref.version is not None or ref.digest is not None
        known = self._names.get(ref)
        if known and (pinned or time.monotonic() - known[0] < self._alias_ttl_s):
            return known[1]
        return await self._asking.run(ref, lambda: self._ask(ref))

    async def _ask(self, ref: AdapterRef) -> Published:
        self._names.pop(ref, None)
        published = await asyncio.to_thread(self._registry.resolve, ref)
        self._names[ref] = (time.monotonic(), published)
        return published

    async def _open(self, published: Published) -> None:
        try:
            await asyncio.to_thread(self._verify, published)
            await self._engine.load(published)
        except BaseException:
            # Removed or mended on disk, perhaps: the next request looks there again.
            self._names = {r: known for r, known in self._names.items() if known[1] != published}
            raise

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
        shown = model[:_SHOWN]
        nearest = get_close_matches(shown, known, n=_NEAREST, cutoff=0.4) or known[:_NEAREST]
        return AdapterNotFound(f"model {shown!r} does not exist; nearest: {', '.join(nearest)}")


def lora_int_id(published: Published) -> int:
    """Return the engine's number for a version: positive, 63 bits of the digest."""
    digits = published.manifest.digest.removeprefix("sha256:")[:16]
    return (int(digits, 16) & (2**63 - 1)) or 1
