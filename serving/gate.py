"""The outermost layer of the server: refuses to start unguarded, lets through listed routes only.

vLLM mounts some forty routes, among them ones that pause, profile or reconfigure the engine. A
request reaches the application only if its path stands in ROUTES.
"""

from __future__ import annotations

import re
import time
from enum import Enum
from typing import Any, Final

from starlette.responses import JSONResponse

from adapters.errors import DragomanError, Draining, Unavailable
from serving.door.admitted import Admitted, at_hand
from serving.door.body import ClientGone
from serving.door.door import Door
from serving.door.keyring import speaks_deepl
from serving.door.record import ERROR, write_record
from serving.door.request_id import STATE as REQUEST_ID
from serving.door.request_id import engine_id, request_id_of, with_engine_id
from serving.http_errors import error_answer, note_error, plain_error
from serving.traffic import Exchange, Traffic
from serving.wire import HEAD_BYTES, HEADERS, bound_connections, is_too_large


class Access(Enum):
    """Who may use a route, where there are keys."""

    OPEN = "anybody"
    KEY = "who has a key"
    ADMIN = "who has an admin key"
    WORK = "who has a key and room left: it wants the engine"


ROUTES: Final = (
    ("GET", r"/health", Access.OPEN),
    ("GET", r"/live", Access.OPEN),
    ("GET", r"/ready", Access.OPEN),
    ("GET", r"/startup", Access.OPEN),
    ("GET", r"/metrics/?", Access.ADMIN),
    ("GET", r"/version", Access.KEY),
    ("GET", r"/v1/models(/[^/]+)?", Access.KEY),
    ("GET", r"/v1/usage", Access.KEY),
    ("POST", r"/v1/chat/completions", Access.WORK),
    ("POST", r"/v1/completions", Access.WORK),
)
_PATHS: Final = tuple((method, re.compile(path), access) for method, path, access in ROUTES)
_SHOWN: Final = 150
_NO_ROUTE: Final = "route_not_found"
# What vLLM lets a client steer its engine by.
_STEERING: Final = (b"x-data-parallel-rank", b"x-session-id", b"endpoint-load-metrics-format")
_STEERING_PREFIX: Final = b"x-vllm-"


def access_of(method: str, path: str) -> Access | None:
    """Return who may use a route, or None where it is not listed."""
    wanted = "GET" if method == "HEAD" else method
    # OPTIONS: a browser asks whether it may; vLLM's --allowed-origins decides what it is told.
    for listed, regex, access in _PATHS:
        if wanted in (listed, "OPTIONS") and regex.fullmatch(path):
            return access
    return None


def strip(scope: Any) -> None:
    """Take out the headers by which a client would steer the engine."""
    scope["headers"] = [header for header in scope["headers"] if not _steers(header[0].lower())]


def _steers(name: bytes) -> bool:
    return name in _STEERING or name.startswith(_STEERING_PREFIX)


class Gate:
    """ASGI middleware, named to vLLM by `--middleware`: if it cannot load, vLLM does not start."""

    def __init__(self, app: Any) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no such route"})
        elif scope["type"] == "http":
            began = time.perf_counter()
            exchange = Exchange(scope, receive, send)
            exchange.state[REQUEST_ID] = request_id_of(scope["headers"])
            try:
                await self._answer(exchange)
            finally:
                write_record(exchange, seconds=time.perf_counter() - began)

    async def _answer(self, exchange: Exchange) -> None:
        scope = exchange.scope
        if is_too_large(scope):
            await _too_large()(scope, exchange.receive, exchange.send)
            return
        access = access_of(scope["method"], _routed_path(scope))
        if access is None:
            exchange.state[ERROR] = _NO_ROUTE
            await _no_route(scope)(scope, exchange.receive, exchange.send)
            return
        strip(scope)
        scope["headers"] = with_engine_id(scope["headers"], engine_id(exchange.state[REQUEST_ID]))
        await self._serve(access, exchange)

    async def _serve(self, access: Access, exchange: Exchange) -> None:
        """Answer a request of a listed route, or say why not."""
        scope, state = exchange.scope, exchange.scope["app"].state
        door: Door | None = getattr(state, "dragoman_door", None)
        if access is Access.OPEN or scope["method"] == "OPTIONS":
            await self._app(scope, exchange.receive, exchange.send)
            return
        try:
            if door is None:
                raise Unavailable("the server is starting; ask again in a moment")
            if access is Access.WORK:
                await self._work(door, state.dragoman_traffic, exchange)
                return
            of_all = access is Access.ADMIN
            caller = door.require_admin(scope) if of_all else door.identify(scope)
            with at_hand(Admitted(caller)):
                await self._app(scope, exchange.receive, exchange.send)
        except DragomanError as error:
            await _refuse(error, exchange)

    async def _work(self, door: Door, traffic: Traffic, exchange: Exchange) -> None:
        """Answer a request that wants the engine."""
        try:
            if traffic.is_draining():
                raise Draining
            admission = await door.let_in(exchange)
        except DragomanError as error:
            await _refuse(error, exchange)
            traffic.count(exchange)
            return
        except ClientGone:
            traffic.count(exchange)
            return
        try:
            with at_hand(admission):
                await traffic.carry(self._app, exchange, deadline_s=door.deadline_s)
        finally:
            await door.see_out(admission, exchange)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        # The last moment before the socket opens. The endpoint plugin sets `dragoman` once it
        # has seen every other plugin's marker; vLLM itself only logs that one did not load.
        state = scope["app"].state
        if getattr(state, "dragoman", None) is not None:
            if server := getattr(state, "server", None):
                bound_connections(server, lambda: state.dragoman_door.patience_s)

            async def close_and_send(message: Any) -> None:
                # Before uvicorn is told, which then ends whatever is not done.
                door: Door | None = getattr(state, "dragoman_door", None)
                if message["type"] == "lifespan.shutdown.complete" and door is not None:
                    await door.close()
                await send(message)

            await self._app(scope, receive, close_and_send)
            return
        await receive()
        message = "error[start_refused]: the endpoint plugin dragoman_api is not in force"
        await send({"type": "lifespan.startup.failed", "message": message})


async def _refuse(error: DragomanError, exchange: Exchange) -> None:
    scope = exchange.scope
    note_error(scope, error)
    answer = error_answer(error, deepl=speaks_deepl(scope))
    await answer(scope, exchange.receive, exchange.send)


def _too_large() -> JSONResponse:
    message = f"the request's head is larger than {HEADERS} headers, or {HEAD_BYTES} bytes"
    return plain_error(431, "head_too_large", f"{message}; send fewer or shorter headers")


def _no_route(scope: Any) -> JSONResponse:
    asked = f"{scope['method']} {scope['path']}"
    message = f"no route {asked[:_SHOWN]}; there are {_listing()}"
    return plain_error(404, _NO_ROUTE, message)


def _routed_path(scope: Any) -> str:
    # What the router will look at: behind a proxy, --root-path is no part of it.
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _listing() -> str:
    return ", ".join(
        f"{method} {re.split('[?(]', path)[0].rstrip('/')}" for method, path, _ in ROUTES
    )
