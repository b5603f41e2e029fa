"""Whether this server lives, has started, and may be sent requests: three questions, apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from adapters.errors import Draining, EngineDead, Unavailable
from adapters.registry import Registry
from serving import markers
from serving.http_errors import error_answer
from serving.run_folder import RunFolder
from serving.store import StoreWatch
from serving.traffic import Traffic
from serving.vllm_compat import engine_core_markers

_TICK_S: Final = 0.1
# How often the registry is listed and the engine asked, by us: probes read what was found.
_CHECK_S: Final = 2.0
# A question wakes the workers, and a woken one spins for a second (vLLM's shm_broadcast.py); their
# death is noticed without one.
_IDLE_CHECK_S: Final = 30.0
_REGISTRY_BOUND_S: Final = 5.0
# A step of the engine may take seconds (a long prompt on a CPU); only its death is seen at once.
_ENGINE_BOUND_S: Final = 60.0
# The engine's death ends streams by itself within milliseconds.
_STUCK_S: Final = 0.5
_LAST_WORDS_S: Final = 2.0

logger = logging.getLogger("vllm.dragoman")


@dataclass
class Check:
    """One thing that readiness rests on: "" while it holds, else why it does not."""

    fault: str = "not looked at yet"

    def as_json(self) -> dict[str, Any]:
        """Return it as probes see it."""
        return {"ok": not self.fault, **({"why": self.fault} if self.fault else {})}


class Health:
    """What was last found out about one API process, its engine and its registry."""

    def __init__(
        self, engine: Any, registry: Registry, traffic: Traffic, run_folder: RunFolder | None = None
    ) -> None:
        """Watch `engine` and `registry` once `follow` was called."""
        self._engine = engine
        self._engine_question = _Question(lambda: missing_markers(engine), _ENGINE_BOUND_S)
        store = StoreWatch(registry)
        self._registry_question = _Question(
            lambda: asyncio.to_thread(store.require), _REGISTRY_BOUND_S
        )
        self._traffic = traffic
        self._run_folder = run_folder
        self._checks = {"plugins": Check(), "registry": Check(), "engine": Check()}
        self._task: asyncio.Task[None] | None = None
        self._engine_asked_at = float("-inf")
        self.has_been_ready = False

    def checks(self) -> dict[str, Check]:
        """Return every check; death and draining are looked at now, the rest was lately."""
        found = dict(self._checks)
        if self._engine.errored:
            found["engine"] = Check("engine_dead: the engine died; the supervisor starts it again")
        draining = self._traffic.is_draining()
        found["draining"] = Check("the server is about to end" if draining else "")
        self.has_been_ready |= not any(check.fault for check in found.values())
        return found

    async def look(self) -> None:
        """Ask the engine and the registry, each within a bound."""
        await asyncio.gather(self._look_at_engine(), self._look_at_registry())

    async def _look_at_engine(self) -> None:
        self._engine_asked_at = time.monotonic()
        fault, missing = await self._engine_question.ask()
        self._checks["engine"].fault = fault
        if not fault:
            self._checks["plugins"].fault = f"not in force: {', '.join(missing)}" * bool(missing)

    async def _look_at_registry(self) -> None:
        self._checks["registry"].fault, _ = await self._registry_question.ask()

    def follow(self, end: Callable[[], None]) -> None:
        """Look from now on; call `end` once the engine is dead and every client knows."""
        if self._run_folder is not None:
            self._run_folder.note_serving()
        self._task = asyncio.create_task(self._follow(end))

    async def _follow(self, end: Callable[[], None]) -> None:
        looking = asyncio.create_task(self._keep_looking())
        drained = False
        while not self._engine.errored:
            if not drained and self._run_folder is not None and self._traffic.is_draining():
                drained = not len(self._traffic)
                if drained:
                    self._run_folder.note_drained()
            await asyncio.sleep(_TICK_S)
        looking.cancel()
        await self._tell_everybody()
        end()

    async def _keep_looking(self) -> None:
        while True:
            rested_s = time.monotonic() - self._engine_asked_at
            if len(self._traffic) or rested_s >= _IDLE_CHECK_S:
                await self.look()
            else:
                await self._look_at_registry()
            await asyncio.sleep(_CHECK_S)

    async def _tell_everybody(self) -> None:
        """Wait until every client knows of the engine's death; end what has not heard of it."""
        await self._wait_until_idle(_STUCK_S)
        self._traffic.fail()
        await self._wait_until_idle(_LAST_WORDS_S)

    async def _wait_until_idle(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while len(self._traffic) and time.monotonic() < deadline:
            await asyncio.sleep(_TICK_S)


class _Question:
    """Asks one thing at a time, and waits no longer than a bound for its answer.

    What did not answer is not asked again on top: a hung store would eat a thread with each try.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Any]], bound_s: float) -> None:
        self._ask = ask
        self._bound_s = bound_s
        self._asked: asyncio.Task[Any] | None = None

    async def ask(self) -> tuple[str, Any]:
        """Return what is wrong, or "", and the answer."""
        self._asked = self._asked or asyncio.create_task(self._ask())
        await asyncio.wait({self._asked}, timeout=self._bound_s)
        if not self._asked.done():
            return f"no answer within {self._bound_s:g} s", None
        asked, self._asked = self._asked, None
        error = asked.exception()
        return (f"{type(error).__name__}: {error}", None) if error else ("", asked.result())


async def missing_markers(engine: Any) -> list[str]:
    """Return which plugin is not in force in which process: API process, worker, engine core."""
    missing = sorted(markers.API_PROCESS - markers.present())
    for index, found in enumerate(await engine.collective_rpc("dragoman_markers")):
        missing += [f"{name} in worker {index}" for name in sorted(markers.worker() - {*found})]
    for index, found in enumerate(await engine_core_markers(engine)):
        wanted = sorted(markers.ENGINE_CORE - {*found})
        missing += [f"{name} in engine core {index}" for name in wanted]
    return missing


async def live() -> Response:
    """Return 200: this process's loop turns."""
    return JSONResponse({"live": True})


async def startup(request: Request) -> Response:
    """Return 200 from the first moment on that the server was ready."""
    health: Health = request.app.state.dragoman_health
    checks = health.checks()
    status = 200 if health.has_been_ready else 503
    return JSONResponse({"started": health.has_been_ready, **_shown(checks)}, status_code=status)


async def ready(request: Request) -> Response:
    """Return 200 while this server should be sent requests: for balancers and the supervisor."""
    health: Health = request.app.state.dragoman_health
    checks = health.checks()
    faults = {name: check.fault for name, check in checks.items() if check.fault}
    body = {"ready": not faults, **_shown(checks)}
    if not faults:
        return JSONResponse(body)
    return error_answer(_why(faults), beside=body)


def _why(faults: Mapping[str, str]) -> Unavailable:
    if "draining" in faults:
        return Draining()
    if faults.get("engine", "").startswith(EngineDead.code):
        return EngineDead()
    return Unavailable("; ".join(f"{name}: {why}" for name, why in faults.items()))


def _shown(checks: Mapping[str, Check]) -> dict[str, Any]:
    return {
        "checks": {name: check.as_json() for name, check in checks.items()},
        "plugins": sorted(markers.present()),
    }
