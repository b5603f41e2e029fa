"""Does to a server what a scenario's events say, in their time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from adapters.errors import LoadTestFailed
from adapters.ids import AdapterId
from adapters.manifest import WEIGHTS_FILE
from adapters.registry import FileRegistry
from loadtests.load.events import Command, Event, HideStore, KillEngine, SlowDisk
from loadtests.load.scenario import Scenario
from loadtests.load.target import Target

_ENGINE: Final = "EngineCore"
_BLOCK: Final = b"\0" * 2**20
_COMMAND_TIMEOUT_S: Final = 600


class Actions:
    """The events of one run; `done` says when each happened and what came of it."""

    def __init__(self, scenario: Scenario, target: Target) -> None:
        self._scenario = scenario
        self._target = target
        self._swapped = itertools.cycle(target.models)
        self.done: list[dict[str, Any]] = []

    async def run(self, now: Callable[[], float]) -> None:
        """Do each event in its time; returns when the last is done."""
        scenario = self._scenario
        times = [
            (scenario.warm_s + at_s, event)
            for event in scenario.events
            for at_s in event.times(scenario.seconds)
        ]
        await asyncio.gather(*(self._at(at_s, event, now) for at_s, event in times))

    async def _at(self, at_s: float, event: Event, now: Callable[[], float]) -> None:
        await asyncio.sleep(max(0.0, at_s - now()))
        began = now()
        said = await asyncio.to_thread(self._do, event)
        self.done.append(
            {
                "kind": event.kind,
                "at_s": round(began, 2),
                "took_s": round(now() - began, 2),
                "said": said,
            }
        )

    def _do(self, event: Event) -> str:
        if isinstance(event, Command):
            return _command(event)
        started = self._target.started
        if started is None:
            raise LoadTestFailed(f"{event.kind} can only be done to a server that was started here")
        if isinstance(event, KillEngine):
            return kill_engine(started.server.process.pid)
        if isinstance(event, HideStore):
            return hide(started.registry, event.for_s)
        if isinstance(event, SlowDisk):
            return slow_disk(started.registry, event.for_s)
        return swap(FileRegistry(started.registry), AdapterId.parse(next(self._swapped)))


def swap(store: FileRegistry, adapter_id: AdapterId) -> str:
    """Move `stable` to the other of two versions; return what it means now."""
    now = 3 - store.aliases(adapter_id)["stable"]
    store.set_alias(adapter_id, "stable", now)
    return f"{adapter_id} is version {now}"


def kill_engine(pid: int) -> str:
    """Kill -9 the engine's process below `pid`."""
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if _ENGINE in process.name() or any(_ENGINE in part for part in process.cmdline()):
                process.kill()
                return f"killed {process.pid}"
    return "there was no engine to kill"


def hide(registry: Path, seconds: float) -> str:
    """Take the registry away for a while."""
    away = registry.with_name(f"{registry.name}-away")
    registry.rename(away)
    try:
        time.sleep(seconds)
    finally:
        away.rename(registry)
    return "away and back"


def slow_disk(registry: Path, seconds: float) -> str:
    """Keep the disk busy with synchronous writes, and the weights out of the page cache."""
    until = time.monotonic() + seconds
    scratch = registry.with_name(f"{registry.name}-busy")
    written = 0
    try:
        with scratch.open("wb", buffering=0) as busy:
            while time.monotonic() < until:
                for weights in registry.glob(f"*/versions/*/{WEIGHTS_FILE}"):
                    with weights.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                for _ in range(16):
                    busy.write(_BLOCK)
                os.fsync(busy.fileno())
                written += 16
                busy.seek(0)
    finally:
        scratch.unlink(missing_ok=True)
    return f"{written} MiB written beside it"


def _command(event: Command) -> str:
    try:
        done = subprocess.run(
            event.run, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"failed: {error}"
    return f"exit {done.returncode} {done.stderr.strip()[-200:]}".strip()
