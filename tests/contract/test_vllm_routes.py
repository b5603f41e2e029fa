"""Every route that vLLM has, whatever enables it: what we list passes, the rest is 404."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, get_args

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse

from serving.gate import ROUTES, access_of
from serving.launch import PLUGINS, plan
from serving.metrics import Metrics
from serving.settings import ServingSettings
from serving.traffic import Traffic
from tests.serving.door.rig import open_door

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# What vLLM mounts in some configuration only.
_FLAGS: Final = (
    "--enable-scale-out",
    "--profiler-config.profiler", "torch", "--profiler-config.torch_profiler_dir", "/tmp",
)  # fmt: skip
_VARIABLES: Final = {
    "VLLM_PLUGINS": ",".join(PLUGINS),
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_ENABLE_COHERE_API": "1",
}
# A new route of vLLM's that passes has to be looked at, and to be listed here.
_VLLMS: Final = {
    ("GET", "/health"), ("GET", "/metrics"), ("GET", "/version"), ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
}  # fmt: skip
_OURS: Final = {
    ("GET", "/live"), ("GET", "/ready"), ("GET", "/startup"), ("GET", "/v1/models/{name}"),
    ("GET", "/v1/usage"),
}  # fmt: skip


class Recorder:
    """In the place of the router: answers everything, and remembers what."""

    def __init__(self, routes: list[Any]) -> None:
        self.routes = routes
        self.reached: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append((scope["method"], scope["path"]))
        await PlainTextResponse("reached")(scope, receive, send)


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    """vLLM's application with all that any flag, variable or kind of model mounts."""
    before = dict(os.environ)
    os.environ.update(_VARIABLES)
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.tasks import SupportedTask
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    settings = ServingSettings(base="/b/tiny", registry=Path("/r"))
    command = plan(settings, Path("/b/tiny"), environment={}).command
    given = [*command[command.index("-m") + 2 :], *_FLAGS]
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(given)
    args.enable_fault_tolerance = True
    model = SimpleNamespace(
        get_pooling_task=lambda _: "embed", hf_config=SimpleNamespace(num_labels=1)
    )
    try:
        built: Any = build_app(args, get_args(SupportedTask), model)  # type: ignore[arg-type]
        built.state.dragoman_door, _ = open_door(Path("nowhere"))
        built.state.dragoman_traffic = Traffic(Metrics(CollectorRegistry()))
        yield built
    finally:
        os.environ.clear()
        os.environ.update(before)


def flat(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the method and path of each route; of a mounted application, that of GET."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path
        yield from flat(getattr(route, "routes", None) or [], path)


@pytest.fixture(scope="module")
def mounted(application: Any) -> set[tuple[str, str]]:
    return set(flat(application.routes))


@pytest.fixture(scope="module")
def known(mounted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those, and what stands in routers that cannot be mounted here, for want of a package."""
    from vllm import entrypoints

    found = set(mounted)
    for module in pkgutil.walk_packages(entrypoints.__path__, "vllm.entrypoints."):
        if module.name.endswith(".api_router"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, APIRouter):
                    found |= set(flat(value.routes))
    return found


def spelt(path: str) -> str:
    """Return a path that the route takes."""
    return re.sub(r"\{[^}]*\}", "some", path)


def test_all_groups_of_routes_are_seen(known: set[tuple[str, str]]) -> None:
    paths = {path for _, path in known}
    of_each_group = {
        "/openapi.json", "/docs", "/metrics", "/load", "/ping", "/invocations",
        "/v1/load_lora_adapter", "/start_profile", "/tokenize", "/v1/systemone",
        "/reset_prefix_cache", "/collective_rpc", "/server_info", "/sleep", "/pause",
        "/update_weights", "/v1/responses/{response_id}", "/v1/messages",
        "/generative_scoring", "/scale_elastic_ep", "/v1/chat/completions/render",
        "/inference/v1/generate", "/v1/realtime", "/v1/audio/transcriptions", "/pooling",
        "/v1/embeddings", "/classify", "/rerank", "/fault_tolerance/apply", "/live",
    }  # fmt: skip
    assert of_each_group <= paths
    assert len(known) > 80


def test_exactly_these_routes_of_vllm_pass(known: set[tuple[str, str]]) -> None:
    passing = {(method, path) for method, path in known if access_of(method, spelt(path))}
    assert passing == _VLLMS | _OURS


def test_what_we_list_is_mounted(mounted: set[tuple[str, str]]) -> None:
    # The other way round: a route that vLLM renamed would be listed in vain.
    assert mounted >= _VLLMS | _OURS
    for method, path, _ in ROUTES:
        regex = re.compile(path)
        assert [p for m, p in mounted if m == method and regex.fullmatch(spelt(p))], path


def test_what_is_not_listed_ends_before_anything_of_vllms(
    application: Any, known: set[tuple[str, str]]
) -> None:
    router = application.router
    application.router = recorder = Recorder(application.routes)
    application.middleware_stack = None
    try:
        paths = sorted({spelt(path) for _, path in known})
        answers = asyncio.run(asked(application, paths))
    finally:
        application.router = router
        application.middleware_stack = None
    listed = {(method, path) for method, path in answers if access_of(method, path)}
    assert {*recorder.reached} == listed
    for (method, path), answer in answers.items():
        if (method, path) in listed:
            continue
        assert answer.status_code == 404, (method, path)
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "route_not_found", (method, path)


async def asked(application: Any, paths: list[str]) -> dict[tuple[str, str], httpx.Response]:
    """Return the answer to each method of each path."""
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return {
            (method, path): await client.request(method, path)
            for path in paths
            for method in _METHODS
        }


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_body_that_breaks_vllms_check_of_it_is_not_the_servers_fault(
    application: Any, path: str
) -> None:
    # An AttributeError in vLLM 0.32: once this is its own 400, answer_unreadable is of less use.
    body = {"model": "m", "prompt": "x", "messages": [], "structured_outputs": 1}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(path, json=body)

    answer = asyncio.run(send())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request_invalid")
