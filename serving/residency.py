"""Where each version is now: in an engine slot, in its CPU cache, or on disk; and who uses it.

A version in use is leased: the engine keeps its weights in memory until the last request that
uses it has ended, and a while longer. The engine is asked only when a version is used for the
first time after that while, since asking costs the wait for a step.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from adapters.errors import AdapterRejected, AdaptersFull
from adapters.registry import Published
from serving.metrics import Metrics
from serving.observe import labels_of
from serving.resolver import lora_int_id
from serving.rounds import Rounds
from serving.single_flight import SingleFlight
from serving.tiers import Tiers
from serving.vllm_compat import lora_request

_REFRESH_S: Final = 2.0
# While nothing is in use: a question wakes the workers, and a woken one spins for a second.
_IDLE_REFRESH_S: Final = 15.0
# Each question waits for a step, and lengthens the next one by a call.
_POLL_S: Final = 0.015
_SLOWER: Final = 1.3
_MOST_POLL_S: Final = 0.1
_LINGER_S: Final = 10.0
# Longer than the time in which every API process lets go of what it no longer uses.
_FULL_WAIT_S: Final = 5.0
_FULL_POLL_S: Final = 0.1
# The engine's workers may each be in a state of their own: the first of these counts.
_WORST_FIRST: Final = ("failed", "full", "started", "loading", "ready")
# What a version must pass, in the engine, before it counts as loaded: (version, LoRARequest).
Check = Callable[[Published, Any], Awaitable[None]]
Release = Callable[[], None]
logger = logging.getLogger("vllm.dragoman")


@dataclass(eq=False)
class _Known:
    """A version that this process uses or used; times are of the monotonic clock."""

    published: Published
    number: int
    labels: tuple[str, str]
    users: int = 0
    idle_since: float = 0.0
    # The engine has said that it keeps the weights for us; so until we let go.
    leased: bool = False
    checked: bool = False
    failed: bool = False


class Residency:
    """Loads versions into the engine, keeps those in use there, and follows all of them."""

    def __init__(
        self,
        engine: Any,
        metrics: Metrics,
        versions: dict[str, tuple[str, str]],
        check: Check | None = None,
    ) -> None:
        """Follow `engine`; `versions` (engine name -> labels) is filled with what is known.

        A version counts as loaded once `check` has returned for it.
        """
        self._engine = engine
        self._metrics = metrics
        self._versions = versions
        self._check = check
        self._client = uuid.uuid4().hex[:12]
        self._leases = Rounds(partial(self._ask, "dragoman_lease"))
        self._loads = Rounds(partial(self._ask, "dragoman_load"))
        self._letting_go: SingleFlight[None, None] = SingleFlight()
        self._known: dict[str, _Known] = {}
        self._pinned: frozenset[str] = frozenset()
        self._tiers = Tiers(metrics)
        self._linger_s = _LINGER_S
        self._is_decoding = False
        self._seen = True
        self._task: asyncio.Task[None] | None = None
        self._reported_at = float("-inf")

    def hold(self, published: Published) -> Release:
        """Count one more user of a version until the returned function is called."""
        known = self._know(published)
        known.users += 1
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                known.users -= 1
                known.idle_since = time.monotonic()

        return release

    def holds(self, name: str) -> bool:
        """Return whether the engine keeps the weights, for those who hold them."""
        known = self._known.get(name)
        return known is not None and known.leased and known.checked

    def is_busy(self) -> bool:
        """Return whether the engine is decoding, as far as this process knows."""
        return self._is_decoding or any(k.users and k.checked for k in self._known.values())

    def pin(self, names: Sequence[str]) -> None:
        """Let these versions, each held by somebody, keep their slots in the engine."""
        self._pinned = frozenset(names)

    async def lease(self, published: Published) -> bool:
        """Return whether the weights are still in memory; then they stay. Raises AdapterRejected.

        Costs the wait for a step only if they were there when the engine was last asked.
        """
        if published.name not in self._tiers:
            return False
        known = self._know(published)
        if not all(await self._leases.ask(known.number)):
            return False
        known.leased = True
        await self._pass_check(known)
        return True

    async def load(self, published: Published, identity: str = "", *, idle_s: float = 0.0) -> None:
        """Put a verified version into memory, beside the engine's steps; it stays while held.

        identity is what its folder looked like when it was verified. idle_s > 0 is a prefetch: it
        takes the place only of versions that nobody used for so long. Raises AdapterRejected,
        AdaptersFull, or what the engine raises when it is dead.
        """
        known = self._know(published)
        started = time.perf_counter()
        if await self._read(known, identity, idle_s):
            self._metrics.loads.labels(*known.labels, "disk").inc()
            seconds = time.perf_counter() - started
            self._metrics.load_seconds.labels(*known.labels, "disk").observe(seconds)
        self._tiers.add(published.name, known.labels)
        await self._pass_check(known)

    async def _read(self, known: _Known, identity: str, idle_s: float) -> bool:
        """Return whether it was this call that had the version read."""
        wanted = {
            "number": known.number,
            "name": known.published.name,
            "folder": str(known.published.folder),
            "identity": identity,
            "labels": list(known.labels),
            "idle_s": idle_s,
        }
        began = was_full = False
        wait_s = _POLL_S
        patience = time.monotonic() + (0.0 if idle_s else _FULL_WAIT_S)
        while True:
            states = await self._load_states(known, wanted)
            state, why = min(states, key=lambda state: _WORST_FIRST.index(state[0]))
            began = began or bool(state == "started")
            if state == "ready":
                known.leased = True
                return began
            if state == "failed":
                raise _rejected(known.published, why)
            if state == "full":
                if time.monotonic() > patience:
                    raise AdaptersFull(
                        f"{known.published.name}: every adapter in the engine's memory is in use; "
                        "ask again, or start the server with a higher --max-cpu-loras"
                    )
                # At first what merely lingers makes room; then only requests that end.
                await self._letting_go.run(None, lambda: self.refresh(linger_s=0.0))
                await asyncio.sleep(_FULL_POLL_S if was_full else 0.0)
                was_full = True
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * _SLOWER, _MOST_POLL_S)

    async def _load_states(self, known: _Known, wanted: dict[str, Any]) -> list[Any]:
        try:
            return await self._loads.ask(wanted)
        except Exception as error:
            if self._engine.errored:
                raise
            raise _rejected(known.published, str(error)) from error

    async def _pass_check(self, known: _Known) -> None:
        if self._check is not None and not known.checked:
            published = known.published
            weights = lora_request(
                published.name, lora_int_id=known.number, folder=published.folder
            )
            try:
                await self._check(published, weights)
            except BaseException:
                known.failed = True
                raise
        known.checked, known.failed = True, False

    def tiers(self) -> dict[str, str]:
        """Return the best tier of each version that is in memory, by the engine's name of it."""
        return self._tiers.best()

    async def refresh(self, *, linger_s: float | None = None) -> None:
        """Tell the engine what we use, ask it what it holds, and publish that.

        What nobody has used for `linger_s` seconds is let go.
        """
        gone = await asyncio.to_thread(self._gone, list(self._known.values()))
        linger_s = self._linger_s if linger_s is None else linger_s
        for known in self._known.values():
            idle_s = time.monotonic() - known.idle_since
            if not known.users and (idle_s >= linger_s or known in gone or known.failed):
                known.leased = False
        # From here to the sending nothing may wait: who comes now finds no lease, and asks.
        used = [k.number for k in self._known.values() if k.users or k.leased]
        pinned = [k.number for k in self._known.values() if k.published.name in self._pinned]
        dropped = [
            k.number for k in self._known.values() if not k.users and (k.failed or k in gone)
        ]
        self._reported_at = time.monotonic()
        answers = await self._ask("dragoman_report", used, pinned, dropped)
        self._take(answers[0])

    def follow(self) -> None:
        """Refresh every two seconds from now on."""
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            if self._in_use() or time.monotonic() - self._reported_at >= _IDLE_REFRESH_S:
                await self._refresh_if_possible()

    def _in_use(self) -> bool:
        known = [k for name, k in self._known.items() if name not in self._pinned or k.users]
        return self._is_decoding or any(k.users or k.leased for k in known)

    async def _refresh_if_possible(self) -> None:
        try:
            await self.refresh()
        except Exception:
            # The engine's death is seen and answered elsewhere; for the gauges one line is enough.
            if self._seen:
                logger.warning("residency could not be read from the engine", exc_info=True)
            self._seen = False
        else:
            self._seen = True

    async def _ask(self, method: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = await self._engine.collective_rpc(
            method, args=(self._client, *arguments)
        )
        return answers

    def _know(self, published: Published) -> _Known:
        known = self._known.get(published.name)
        if known is None:
            manifest = published.manifest
            labels = labels_of(manifest.id, manifest.version)
            known = _Known(published, lora_int_id(published), labels, idle_since=time.monotonic())
            self._known[published.name] = known
            self._versions[published.name] = labels
        return known

    @staticmethod
    def _gone(known: list[_Known]) -> list[_Known]:
        """Return the versions that were removed; a registry that is not there removes none."""
        folders = [(k, k.published.folder) for k in known if not k.users]
        return [k for k, folder in folders if folder.parent.is_dir() and not folder.is_dir()]

    def _take(self, report: dict[str, Any]) -> None:
        rows = report["versions"]
        now = {name: ((adapter, version), tier) for _, name, adapter, version, tier in rows}
        for name in [n for n, k in self._known.items() if not (k.users or k.leased or n in now)]:
            self._metrics.forget(self._known.pop(name).labels)
            del self._versions[name]
        for kind, where, adapter, version in report["events"]:
            counter = self._metrics.loads if kind == "load" else self._metrics.evictions
            counter.labels(adapter, version, where).inc()
        self._is_decoding = report["is_decoding"]
        # Little room left: keep only what is in use, so that others may come in.
        self._linger_s = _LINGER_S if report["room"] * 2 >= report["capacity"] else 0.0
        self._tiers.replace(now)


def _rejected(published: Published, why: str) -> AdapterRejected:
    return AdapterRejected(
        f"{published.name}: the engine could not load it ({why}); "
        f"check it with `dragoman adapters verify {published.manifest.id}`"
    )
