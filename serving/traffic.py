"""The requests under way in one API process: counted at its edge, told when they cannot go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from adapters.errors import EngineDead
from serving.http_errors import error_answer, error_body
from serving.metrics import NO_LABELS, Metrics
from serving.run_folder import RunFolder

# The status of a client that hung up before it got one, as nginx has it; no access log names it.
_GONE: Final = 499


class Traffic:
    """What is under way, and whether more may come."""

    def __init__(self, metrics: Metrics, run_folder: RunFolder | None = None) -> None:
        """Count into `metrics`; `run_folder` says when to refuse, None never does."""
        self._metrics = metrics
        self._run_folder = run_folder
        self._under_way: dict[asyncio.Task[Any], Exchange] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def is_draining(self) -> bool:
        """Return whether new requests are to be refused."""
        return self._run_folder is not None and self._run_folder.is_draining()

    async def carry(self, app: Any, exchange: Exchange) -> None:
        """Let `app` answer; count the request by adapter, version, route and status."""
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._under_way[task] = exchange
        try:
            await app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.failed:
                raise
            task.uncancel()
            await exchange.end_with_error()
        except Exception:
            # What Starlette says, outside of us.
            exchange.status = exchange.status or 500
            raise
        finally:
            del self._under_way[task]
            # What the request used, it uses no longer: the answer is out, or nobody waits for it.
            if resolved := exchange.state.get("dragoman"):
                resolved.release()
            self.count(exchange)

    def count(self, exchange: Exchange) -> None:
        """Count one request, also one that was refused at the door."""
        labels = exchange.state.get("dragoman_labels", NO_LABELS)
        route = exchange.scope["path"]
        status = str(exchange.status or _GONE)
        self._metrics.http_requests.labels(*labels, route, status).inc()

    def fail(self) -> None:
        """End every request with the error `engine_dead`.

        The engine's death ends streams by itself, but nobody wakes who waits for a call to it.
        """
        for task, exchange in self._under_way.items():
            if not exchange.failed:
                exchange.failed = True
                task.cancel()


class Exchange:
    """One request and its answer, as they pass the edge."""

    __slots__ = ("_receive", "_send", "failed", "gone", "scope", "state", "status")

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.state = scope.setdefault("state", {})
        self.status = 0
        self.gone = False
        self.failed = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Any:
        """Return what the client sends."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        return message

    async def send(self, message: Any) -> None:
        """Pass on what the application answers; the start also names what answered."""
        if not self.status:
            self.status = _GONE if self.gone else message["status"]
            message["headers"] = [*message["headers"], *_adapter_headers(self.state)]
        await self._send(message)

    async def end_with_error(self) -> None:
        """Tell the client that the engine died, in a status or, once streaming, in an event."""
        if not self.status:
            await error_answer(EngineDead())(self.scope, self.receive, self.send)
            return
        event = f"data: {json.dumps(error_body(EngineDead()))}\n\ndata: [DONE]\n\n"
        await self.send({"type": "http.response.body", "body": event.encode()})


def _adapter_headers(state: Any) -> list[tuple[bytes, bytes]]:
    resolved = state.get("dragoman")
    if resolved is None:
        return []
    manifest = resolved.manifest
    return [
        (b"x-dragoman-adapter", str(manifest.id).encode()),
        (b"x-dragoman-version", str(manifest.version).encode()),
        (b"x-dragoman-digest", manifest.digest.encode()),
        (b"x-dragoman-route", resolved.route.encode()),
    ]
