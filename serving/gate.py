"""The outermost layer of the server: refuses to start unguarded, lets through listed routes only.

vLLM mounts some forty routes, among them ones that pause, profile or reconfigure the engine. A
request reaches the application only if its path stands in ROUTES.
"""

from __future__ import annotations

import re
from typing import Any, Final

from serving.http_errors import plain_error

ROUTES: Final = (
    ("GET", r"/health"),
    ("GET", r"/ready"),
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
            await self._app(scope, receive, _with_adapter_headers(scope, send))
        elif scope["type"] == "http":
            asked = f"{scope['method']} {scope['path']}"
            message = f"no route {asked[:_SHOWN]}; there are {_listing()}"
            await plain_error(404, "route_not_found", message)(scope, receive, send)

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


def _with_adapter_headers(scope: Any, send: Any) -> Any:
    """Return a `send` that names the adapter, version and digest that answered."""
    state = scope.setdefault("state", {})

    async def send_with_headers(message: Any) -> None:
        resolved = state.get("dragoman") if message["type"] == "http.response.start" else None
        if resolved is not None:
            manifest = resolved.manifest
            message["headers"] = [
                *message["headers"],
                (b"x-dragoman-adapter", str(manifest.id).encode()),
                (b"x-dragoman-version", str(manifest.version).encode()),
                (b"x-dragoman-digest", manifest.digest.encode()),
                (b"x-dragoman-route", resolved.route.encode()),
            ]
        await send(message)

    return send_with_headers
