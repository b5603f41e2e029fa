from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from adapters.registry import Published
from serving.gate import Access, Gate, access_of
from serving.metrics import Metrics
from serving.resolver import Resolved, lora_int_id
from serving.traffic import Traffic
from tests.serving.conftest import Publish
from tests.serving.door.rig import bearer, key, open_door

LISTED = [
    ("GET", "/health"), ("GET", "/ready"), ("GET", "/live"), ("GET", "/startup"),
    ("GET", "/metrics"), ("GET", "/metrics/"),
    ("GET", "/version"), ("GET", "/v1/models"), ("GET", "/v1/models/ui-en-fr@1"),
    ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("HEAD", "/health"),
    ("OPTIONS", "/v1/chat/completions"),
]  # fmt: skip
REFUSED = [
    ("GET", "/"), ("GET", ""), ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/pause"),
    ("POST", "/v1/load_lora_adapter"), ("POST", "/tokenize"), ("POST", "/invocations"),
    ("GET", "//v1/models"), ("GET", "/v1//models"), ("GET", "/v1/models/"), ("GET", "/V1/models"),
    ("GET", "/v1/models/a/b"), ("GET", "/v1/models/../../pause"), ("GET", "/v1/models\n"),
    ("GET", "/health/../pause"), ("GET", "/health;x"), ("GET", "/metrics/x"),
    ("GET", "/health\x00"),
    ("POST", "/health"), ("DELETE", "/v1/models/ui-en-fr"), ("HEAD", "/v1/completions"),
    ("OPTIONS", "/pause"), ("TRACE", "/health"), ("get", "/health"), ("POST", "/v1/completions/"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), LISTED)
def test_listed_routes_pass(method: str, path: str) -> None:
    assert access_of(method, path) is not None


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_everything_else_is_refused(method: str, path: str) -> None:
    assert access_of(method, path) is None


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://server")


def ask(app: Any, method: str, url: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with client(app) as session:
            return await session.request(method, url, **options)

    return asyncio.run(send())


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


def behind_the_gate(*routes: Route, cors: bool = False) -> Starlette:
    inner = (
        [Middleware(CORSMiddleware, allow_origins=["https://app"], allow_methods=["*"])]
        if cors
        else []
    )
    return Starlette(routes=list(routes), middleware=[Middleware(Gate), *inner])


@pytest.mark.parametrize(
    "path", ["/pause", "/v1/%6dodels/%2e%2e/x", "/%2fhealth", "/health%2f..%2fpause"]
)
def test_a_route_that_is_mounted_but_not_listed_is_not_found_in_openais_shape(path: str) -> None:
    app = behind_the_gate(Route("/{any:path}", echo))
    answer = ask(app, "GET", path)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "route_not_found"
    assert error["type"] == "NotFoundError"
    assert "POST /v1/chat/completions" in error["message"]


def test_an_escaped_path_reaches_what_it_spells() -> None:
    app = behind_the_gate(Route("/health", echo))
    assert ask(app, "GET", "/he%61lth").status_code == 200


def test_a_refusal_does_not_echo_a_path_at_length() -> None:
    answer = ask(behind_the_gate(), "GET", "/" + "x" * 50_000)
    assert len(answer.content) < 1000


def test_a_browsers_preflight_is_answered_by_the_servers_cors_settings() -> None:
    app = behind_the_gate(Route("/v1/completions", echo, methods=["POST"]), cors=True)
    headers = {"Origin": "https://app", "Access-Control-Request-Method": "POST"}
    answer = ask(app, "OPTIONS", "/v1/completions", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app"


@pytest.mark.parametrize(("root", "path", "status"), [
    ("/llm", "/llm/health", 200), ("/llm", "/health", 200), ("", "/health", 200),
    ("/llm", "/llm/pause", 404), ("/llm", "/llmhealth", 404), ("/llm", "/llm/llm/health", 404),
])  # fmt: skip
def test_behind_a_proxy_the_root_path_is_no_part_of_the_route(
    root: str, path: str, status: int
) -> None:
    app = behind_the_gate(Route("/health", echo), Route("/pause", echo))

    async def send() -> httpx.Response:
        async with client(app, root_path=root) as session:
            return await session.get(path)

    assert asyncio.run(send()).status_code == status


def test_an_answer_names_the_adapter_version_and_digest(publish: Publish, tmp_path: Path) -> None:
    published = publish()

    async def answer(request: Request) -> JSONResponse:
        request.state.dragoman = resolved(published)
        return JSONResponse({}, status_code=422)

    app = behind_the_gate(Route("/v1/completions", answer, methods=["POST"]))
    app.state.dragoman_traffic = Traffic(Metrics(CollectorRegistry()))
    app.state.dragoman_door, _ = open_door(tmp_path)
    headers = ask(app, "POST", "/v1/completions").headers
    assert headers["x-dragoman-adapter"] == "ui-en-fr"
    assert headers["x-dragoman-version"] == "1"
    assert headers["x-dragoman-digest"] == published.manifest.digest
    assert headers["x-dragoman-route"] == "name:stable"


def test_an_answer_of_no_adapter_names_none() -> None:
    app = behind_the_gate(Route("/health", echo))
    assert not [h for h in ask(app, "GET", "/health").headers if h.startswith("x-dragoman")]


def resolved(published: Published) -> Resolved:
    return Resolved(published, lora_int_id(published), route="name:stable")


def speak(app: Any, scope: dict[str, Any], *incoming: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the application sends when it is told `incoming`."""
    sent: list[dict[str, Any]] = []
    queue = list(incoming)

    async def receive() -> dict[str, Any]:
        return queue.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def test_a_websocket_is_closed_before_the_application_sees_it() -> None:
    async def application(*_: Any) -> None:
        raise AssertionError("reached")

    scope = {"type": "websocket", "path": "/v1/realtime"}
    sent = speak(Gate(application), scope, {"type": "websocket.connect"})
    assert [message["type"] for message in sent] == ["websocket.close"]


START = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.began = True
    yield


def lifespan_of(**state: Any) -> tuple[Starlette, list[dict[str, Any]]]:
    app = Starlette(middleware=[Middleware(Gate)], lifespan=lifespan)
    for name, value in state.items():
        setattr(app.state, name, value)
    return app, speak(app, {"type": "lifespan"}, *START)


def test_a_server_without_the_endpoint_plugin_does_not_start() -> None:
    app, sent = lifespan_of()
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "dragoman_api" in sent[0]["message"]
    assert not hasattr(app.state, "began")


def test_a_server_with_the_endpoint_plugin_starts() -> None:
    app, sent = lifespan_of(dragoman=SimpleNamespace())
    assert sent[0]["type"] == "lifespan.startup.complete"
    assert app.state.began


def test_usage_is_written_before_the_server_is_said_to_have_shut_down() -> None:
    sent: list[str] = []

    async def close() -> None:
        sent.append("closed")

    app = Starlette(middleware=[Middleware(Gate)], lifespan=lifespan)
    app.state.dragoman, app.state.dragoman_door = SimpleNamespace(), SimpleNamespace(close=close)
    incoming = list(START)

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "closed", "lifespan.shutdown.complete"]


async def headers_seen(request: Request) -> JSONResponse:
    return JSONResponse([name.decode() for name, _ in request.scope["headers"]])


def guarded(tmp_path: Path) -> Starlette:
    """Return an application behind a door of two keys; its routes tell the headers they see."""
    app = behind_the_gate(
        Route("/v1/completions", headers_seen, methods=["POST"]),
        *(Route(path, headers_seen) for path in ("/metrics", "/v1/models", "/ready")),
    )
    app.state.dragoman_traffic = Traffic(Metrics(CollectorRegistry()))
    app.state.dragoman_door, _ = open_door(tmp_path, [key("web"), key("ops", admin=True)])
    return app


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [  # of nobody, of a wrong key, of a key, of an admin's
        ("GET", "/ready", (200, 200, 200, 200)),
        ("GET", "/v1/models", (401, 401, 200, 200)),
        ("POST", "/v1/completions", (401, 401, 200, 200)),
        ("GET", "/metrics", (401, 401, 403, 200)),
        ("HEAD", "/metrics", (401, 401, 403, 200)),
        ("GET", "/pause", (404, 404, 404, 404)),
    ],
)
def test_each_route_opens_to_those_it_is_for(
    tmp_path: Path, method: str, path: str, statuses: tuple[int, ...]
) -> None:
    app = guarded(tmp_path)
    shown: tuple[dict[str, str], ...] = ({}, bearer("x"), bearer("web"), bearer("ops"))
    assert tuple(ask(app, method, path, headers=h).status_code for h in shown) == statuses


def test_open_metrics_want_no_key(tmp_path: Path) -> None:
    app = guarded(tmp_path)
    app.state.dragoman_door, _ = open_door(tmp_path, [key("web")], metrics_open=True)
    assert ask(app, "GET", "/metrics").status_code == 200
    assert ask(app, "GET", "/v1/models").status_code == 401


def test_deepls_clients_are_told_in_their_own_way_that_a_key_is_wrong(tmp_path: Path) -> None:
    headers = {"Authorization": "DeepL-Auth-Key wrong"}
    answer = ask(guarded(tmp_path), "POST", "/v1/completions", headers=headers)
    assert answer.status_code == 403
    assert "not known" in answer.json()["message"]


def test_before_the_door_stands_only_probes_are_answered(tmp_path: Path) -> None:
    app = guarded(tmp_path)
    app.state.dragoman_door = None
    found = [
        ask(app, method, path, headers=bearer("ops")).status_code
        for method, path in (("GET", "/ready"), ("GET", "/metrics"), ("POST", "/v1/completions"))
    ]
    assert found == [200, 503, 503]


def test_headers_that_steer_the_engine_end_at_the_door(tmp_path: Path) -> None:
    steering = {
        "X-Vllm-Priority": "-9", "x-vllm-anything": "1", "X-data-parallel-rank": "1",
        "X-Session-ID": "s", "endpoint-load-metrics-format": "TEXT",
    }  # fmt: skip
    headers = {**bearer("web"), **steering, "X-Kept": "1"}
    seen = ask(guarded(tmp_path), "POST", "/v1/completions", headers=headers).json()
    assert "x-kept" in seen
    assert not {name.lower() for name in steering} & {*seen}


def test_every_answer_names_its_request_as_the_client_did(tmp_path: Path) -> None:
    app = guarded(tmp_path)
    named = ask(app, "GET", "/v1/models", headers={**bearer("web"), "X-Request-Id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"
    refused = ask(app, "GET", "/v1/models", headers={"X-Request-Id": "a b\tc"})
    assert refused.status_code == 401
    assert len(refused.headers["x-request-id"]) == 32


def test_who_wants_the_engine_needs_room_and_who_reads_does_not() -> None:
    wanting = {path for method, path in LISTED if access_of(method, path) is Access.WORK}
    assert wanting == {"/v1/chat/completions", "/v1/completions"}
