"""The requests under way in one API process: counted at its edge, told when they cannot go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from adapters.errors import DeadlineExceeded, DragomanError, EngineDead
from serving.door.body import Receive, replayed
from serving.door.record import ERROR
from serving.http_errors import error_answer, error_body
from serving.metrics import NO_LABELS, Metrics
from serving.run_folder import RunFolder

# The status of a client that hung up before it got one, as nginx has it; no access log names it.
_GONE: Final = 499
_OF_BODY: Final = (b"content-length", b"transfer-encoding")


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

    async def carry(self, app: Any, exchange: Exchange, *, deadline_s: float) -> None:
        """Let `app` answer in that time; count the request by adapter, version, route, status."""
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._under_way[task] = exchange
        alarm = asyncio.get_running_loop().call_later(
            deadline_s, _fail, task, exchange, _too_late(deadline_s)
        )
        try:
            await app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if exchange.failed is None:
                raise
            task.uncancel()
            await exchange.end_with_error(exchange.failed)
        except Exception:
            # What Starlette says, outside of us.
            exchange.status = exchange.status or 500
            raise
        finally:
            alarm.cancel()
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
            _fail(task, exchange, EngineDead())


def _fail(task: asyncio.Task[Any], exchange: Exchange, error: DragomanError) -> None:
    if exchange.failed is None:
        exchange.failed = error
        task.cancel()


def _too_late(deadline_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the answer was not complete after {deadline_s:g} s; send shorter texts"
    )


class Exchange:
    """One request and its answer, as they pass the edge."""

    __slots__ = (
        "_client", "_receive", "_send", "bytes_in", "failed", "finished", "gone", "scope", "state",
        "status",
    )  # fmt: skip

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.state = scope.setdefault("state", {})
        self.status = 0
        self.gone = False
        self.finished = False
        self.bytes_in = 0
        self.failed: DragomanError | None = None
        self._client = receive
        self._receive: Receive = self._hear
        self._send = send

    async def receive(self) -> Any:
        """Return what the client sends, or what `give_body` put in its place."""
        return await self._receive()

    async def _hear(self) -> Any:
        message = await self._client()
        if message["type"] == "http.disconnect":
            self.gone = True
        self.bytes_in += len(message.get("body", b""))
        return message

    def give_body(self, raw: bytes) -> None:
        """Let the application receive `raw`, and then what the client does."""
        self._receive = replayed(raw, self._receive)
        headers = [h for h in self.scope["headers"] if h[0].lower() not in _OF_BODY]
        self.scope["headers"] = [*headers, (b"content-length", str(len(raw)).encode())]

    async def send(self, message: Any) -> None:
        """Pass on what the application answers; the start also names what answered."""
        if not self.status:
            self.status = _GONE if self.gone else message["status"]
            message["headers"] = [*message["headers"], *_headers(self.state)]
        await self._send(message)
        self.finished = message["type"] == "http.response.body" and not message.get("more_body")

    async def end_with_error(self, error: DragomanError) -> None:
        """Tell the client what went wrong, in a status or, once streaming, in an event."""
        self.state[ERROR] = error.code
        if not self.status:
            await error_answer(error)(self.scope, self.receive, self.send)
            return
        event = f"data: {json.dumps(error_body(error))}\n\ndata: [DONE]\n\n"
        await self.send({"type": "http.response.body", "body": event.encode()})


def _headers(state: Any) -> list[tuple[bytes, bytes]]:
    request_id = state.get("dragoman_request_id")
    named = [(b"x-request-id", request_id.encode())] if request_id else []
    resolved = state.get("dragoman")
    if resolved is None:
        return named
    manifest = resolved.manifest
    return [
        *named,
        (b"x-dragoman-adapter", str(manifest.id).encode()),
        (b"x-dragoman-version", str(manifest.version).encode()),
        (b"x-dragoman-digest", manifest.digest.encode()),
        (b"x-dragoman-route", resolved.route.encode()),
    ]
