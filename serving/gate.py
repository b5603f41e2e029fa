"""The outermost layer of the server: refuses to start unguarded, lets through listed routes only.

vLLM mounts some forty routes, among them ones that pause, profile or reconfigure the engine. A
request reaches the application only if its path stands in ROUTES.
"""

from __future__ import annotations

import re
from typing import Any, Final

from adapters.errors import Draining
from serving.http_errors import error_answer, plain_error
from serving.traffic import Exchange, Traffic

ROUTES: Final = (
    ("GET", r"/health"),
    ("GET", r"/live"),
    ("GET", r"/ready"),
    ("GET", r"/startup"),
    ("GET", r"/metrics/?"),
    ("GET", r"/version"),
    ("GET", r"/v1/models(/[^/]+)?"),
    ("POST", r"/v1/chat/completions"),
    ("POST", r"/v1/completions"),
)
_PATHS: Final = tuple((method, re.compile(path)) for method, path in ROUTES)
_SHOWN: Final = 150


def is_listed(method: str, path: str) -> bool:
    """Return whether a request may reach the application."""
    wanted = "GET" if method == "HEAD" else method
    # OPTIONS: a browser asks whether it may; vLLM's --allowed-origins decides what it is told.
    return any(wanted in (listed, "OPTIONS") and regex.fullmatch(path) for listed, regex in _PATHS)


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
        elif scope["type"] == "http" and is_listed(scope["method"], _routed_path(scope)):
            await self._serve(scope, receive, send)
        elif scope["type"] == "http":
            asked = f"{scope['method']} {scope['path']}"
            message = f"no route {asked[:_SHOWN]}; there are {_listing()}"
            await plain_error(404, "route_not_found", message)(scope, receive, send)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        traffic: Traffic | None = getattr(scope["app"].state, "dragoman_traffic", None)
        if traffic is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        if traffic.is_draining():
            await error_answer(Draining())(scope, exchange.receive, exchange.send)
            traffic.count(exchange)
        else:
            await traffic.carry(self._app, exchange)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        # The last moment before the socket opens. The endpoint plugin sets `dragoman` once it
        # has seen every other plugin's marker; vLLM itself only logs that one did not load.
        if getattr(scope["app"].state, "dragoman", None) is not None:
            await self._app(scope, receive, send)
            return
        await receive()
        message = "error[start_refused]: the endpoint plugin dragoman_api is not in force"
        await send({"type": "lifespan.startup.failed", "message": message})


def _routed_path(scope: Any) -> str:
    # What the router will look at: behind a proxy, --root-path is no part of it.
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _listing() -> str:
    return ", ".join(f"{method} {re.split('[?(]', path)[0].rstrip('/')}" for method, path in ROUTES)
