"""From the `model` of a request to one verified version that the engine holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Protocol

from adapters.base_model import BaseModelRef
from adapters.errors import (
    AdapterNotFound,
    AdapterRejected,
    BaseModelMismatch,
    InvalidId,
    RegistryError,
)
from adapters.ids import AdapterRef
from adapters.manifest import AdapterManifest
from adapters.registry import Published, Registry
from adapters.verify import verify_adapter
from serving.pace import Pace
from serving.single_flight import SingleFlight
from serving.store import StoreWatch
from serving.verified import Verified

_NEAREST: Final = 3
_SHOWN: Final = 150
# A version has dozens of names, one for each length of its digest.
_MOST_NAMES: Final = 4096
# Long enough to mend a store, short enough that a roll-back made elsewhere is not missed for ever.
_LAST_KNOWN_S: Final = 600.0
# Names are asked for twenty times a second; that the store is gone need not be said as often.
_WARN_S: Final = 10.0
logger = logging.getLogger("vllm.dragoman")


@dataclass(frozen=True)
class RunningBase:
    """The base model that this server runs."""

    ref: BaseModelRef
    folder: Path
    served_name: str


@dataclass(frozen=True)
class Resolved:
    """One version that is ready to answer, and why a request got it.

    It stays so until `release` is called, which whoever resolved it owes, at the request's end.
    """

    published: Published
    lora_int_id: int
    route: str
    release: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def manifest(self) -> AdapterManifest:
        """The version's contract."""
        return self.published.manifest

    @property
    def name(self) -> str:
        """The name by which the engine knows the weights: `id@digest12`."""
        return self.published.name


@dataclass(frozen=True)
class _Name:
    """What a name meant when the registry last said so; times are of the monotonic clock."""

    published: Published
    read_at: float
    asked_at: float


class Engine(Protocol):
    """What the resolver needs of the engine."""

    def hold(self, published: Published) -> Callable[[], None]:
        """Count one more user of a version until the returned function is called."""
        ...

    def holds(self, name: str) -> bool:
        """Return whether the engine keeps the weights of that name for their users."""
        ...

    def is_busy(self) -> bool:
        """Return whether it is decoding, so that other work must keep out of its way."""
        ...

    async def lease(self, published: Published) -> bool:
        """Return whether the weights are still in its memory; then they stay for their users."""
        ...

    async def load(self, published: Published, identity: str, *, idle_s: float) -> None:
        """Put verified weights into its memory. Raises AdapterRejected, AdaptersFull.

        idle_s > 0: only in the place of versions that nobody used for so long.
        """
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
        self._store = StoreWatch(registry)
        self._warned_at = float("-inf")
        self._verified = Verified(self._verify)
        self.on_use: Callable[[Resolved], None] = lambda _: None
        # Names that exist only: what clients ask for in vain must not fill the memory.
        self._names: OrderedDict[AdapterRef, _Name] = OrderedDict()
        self._asking: SingleFlight[AdapterRef, Published] = SingleFlight()
        # Prefetches apart: one that finds no room gives up at once, a request waits for some.
        self._opening: SingleFlight[tuple[str, bool], None] = SingleFlight()

    async def resolve(self, model: str) -> Resolved:
        """Return the version that `model` means now, loaded.

        Raises AdapterNotFound with the nearest ids, AdapterRejected or BaseModelMismatch; the
        engine and all other adapters are then untouched.
        """
        try:
            ref = AdapterRef.parse(model)
        except InvalidId as error:
            raise await asyncio.to_thread(self._not_found, model) from error
        published, release = await self._opened(ref)
        resolved = Resolved(published, lora_int_id(published), f"name:{ref.selector}", release)
        self.on_use(resolved)
        return resolved

    async def _opened(self, ref: AdapterRef) -> tuple[Published, Callable[[], None]]:
        published = await self._published(ref)
        while True:
            try:
                return published, await self.open(published)
            except AdapterRejected:
                # Removed while it was read, perhaps, after its name had moved on.
                refused, published = published, await self._published(ref)
                if published == refused:
                    raise

    async def open(self, published: Published, *, idle_s: float = 0.0) -> Callable[[], None]:
        """Return, once a version is loaded, what to call when it is no longer used.

        idle_s > 0: loaded only in the place of versions that nobody used for so long.
        """
        release = self._engine.hold(published)
        try:
            if not self._engine.holds(published.name):
                flight = published.name, idle_s > 0
                await self._opening.run(flight, lambda: self._open(published, idle_s))
        except BaseException:
            release()
            raise
        return release

    async def _published(self, ref: AdapterRef) -> Published:
        # A version or digest never changes its meaning; an alias may at any time.
        exact = ref.version is not None or ref.digest is not None
        known = self._names.get(ref)
        if known and (exact or time.monotonic() - known.asked_at < self._alias_ttl_s):
            self._names.move_to_end(ref)
            return known.published
        return await self._asking.run(ref, lambda: self._ask(ref))

    async def _ask(self, ref: AdapterRef) -> Published:
        known = self._names.pop(ref, None)
        try:
            published = await asyncio.to_thread(self._look_up, ref)
        except AdapterNotFound:
            raise
        except RegistryError as error:
            # A store that is gone for a while takes nothing back: what was read last still holds.
            if known is None or time.monotonic() - known.read_at > _LAST_KNOWN_S:
                raise
            now = time.monotonic()
            if now - self._warned_at > _WARN_S:
                logger.warning("%s: answered as last known: %s", ref, error)
                self._warned_at = now
            self._names[ref] = replace(known, asked_at=now)
            return known.published
        self._names[ref] = _Name(published, time.monotonic(), time.monotonic())
        while len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        return published

    def _look_up(self, ref: AdapterRef) -> Published:
        try:
            published = self._registry.resolve(ref)
        except AdapterNotFound:
            self._store.require()  # one that is gone has no adapters, but takes none back
            raise
        self._store.note_read()
        return published

    async def _open(self, published: Published, idle_s: float) -> None:
        try:
            # What is in memory needs no file, which may be gone by now.
            if not await self._engine.lease(published):
                identity = await asyncio.to_thread(self._verified.check, published)
                await self._load(published, identity, idle_s)
        except BaseException:
            # Removed or mended on disk, perhaps: the next request looks there again.
            for ref in [r for r, name in self._names.items() if name.published == published]:
                del self._names[ref]
            raise

    async def _load(self, published: Published, identity: str, idle_s: float) -> None:
        try:
            await self._engine.load(published, identity, idle_s=idle_s)
        except AdapterRejected as fault:
            await asyncio.to_thread(self._verified.note_fault, published, fault)
            raise

    def _verify(self, published: Published) -> None:
        manifest = published.manifest
        if manifest.base.fingerprint != self._base.ref.fingerprint:
            raise BaseModelMismatch(
                f"{manifest.id}@{manifest.version} was trained on {manifest.base}, this server "
                f"runs {self._base.ref}; retrain it, or route to a server of that base"
            )
        verify_adapter(
            published.folder,
            manifest,
            max_rank=self._max_rank,
            base=self._base.folder,
            rest=Pace(self._engine.is_busy),
        )

    def _not_found(self, model: str) -> AdapterNotFound:
        return not_found(model, [self._base.served_name, *map(str, self._registry.ids())])


def not_found(model: str, known: Sequence[str]) -> AdapterNotFound:
    """Return what is said of a model that does not exist, where those of `known` do."""
    shown = model[:_SHOWN]
    nearest = get_close_matches(shown, known, n=_NEAREST, cutoff=0.4) or known[:_NEAREST]
    return AdapterNotFound(
        f"model {shown!r} does not exist; nearest: {', '.join(nearest) or 'none'}"
    )


def lora_int_id(published: Published) -> int:
    """Return the engine's number for a version: positive, 63 bits of the digest."""
    digits = published.manifest.digest.removeprefix("sha256:")[:16]
    return (int(digits, 16) & (2**63 - 1)) or 1
