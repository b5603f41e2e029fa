"""How vLLM starts: our plugins, our flags, its routes behind our gate."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from serving import vllm_compat
from serving.launch import PLUGINS, plan
from serving.settings import ServingSettings
from tests.contract.shapes import parameters

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("group", "name"), [
    ("vllm.general_plugins", "dragoman"),
    ("vllm.endpoint_plugins", "dragoman_api"),
    ("vllm.stat_logger_plugins", "dragoman_stats"),
])  # fmt: skip
def test_vllm_finds_each_plugin_under_the_name_that_the_launcher_lists(
    group: str, name: str
) -> None:
    from vllm import plugins

    groups = {value for key, value in vars(plugins).items() if key.endswith("_GROUP")}
    assert group in groups
    assert name in PLUGINS
    (found,) = entry_points(group=group, name=name)
    assert callable(found.load())


def test_the_endpoint_plugin_is_what_vllm_asks_for() -> None:
    from vllm.plugins.endpoint_plugins.interface import EndpointPlugin

    from serving.api import endpoint_plugin

    plugin = endpoint_plugin()
    vllms: Any = EndpointPlugin
    assert isinstance(plugin, vllms)
    assert plugin.name in PLUGINS
    for name in ("attach_router", "init_state"):
        assert parameters(getattr(plugin, name)) == parameters(getattr(vllms, name))[1:]


def test_the_servers_module_exists() -> None:
    flag, module = vllm_compat.server_command()
    assert flag == "-m"
    assert importlib.util.find_spec(module) is not None
    assert '__name__ == "__main__"' in Path(
        str(importlib.import_module(module).__file__)
    ).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def launched() -> Any:
    """Return the arguments that vLLM reads out of our command."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    settings = ServingSettings(base="/b/tiny", registry=Path("/r"), max_lora_rank=16, port=81)
    command = plan(settings, Path("/b/tiny"), ("--max-loras", "9"), environment={}).command
    index = command.index("-m")
    parser = make_arg_parser(FlexibleArgumentParser())
    return parser.parse_args(list(command[index + 2 :]))


def test_every_flag_of_the_launcher_is_vllms(launched: Any) -> None:
    assert launched.enable_lora
    assert (launched.model, launched.served_model_name) == ("/b/tiny", ["tiny"])
    assert (launched.max_lora_rank, launched.port, launched.shutdown_timeout) == (16, 81, 2)
    assert launched.max_loras == 9


@pytest.fixture(scope="module")
def application(launched: Any) -> Any:
    """Return vLLM's own application, as our command makes it, without an engine."""
    before = os.environ.get("VLLM_PLUGINS")
    os.environ["VLLM_PLUGINS"] = ",".join(PLUGINS)
    try:
        from vllm.entrypoints.launchers.app import build_app

        return build_app(launched, ("generate",))
    finally:
        if before is None:
            del os.environ["VLLM_PLUGINS"]
        else:
            os.environ["VLLM_PLUGINS"] = before


def routes(application: Any) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in application.routes
        for method in (getattr(route, "methods", None) or {"GET"})
    }


def ask(application: Any, method: str, path: str) -> Any:
    import httpx

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path)

    return asyncio.run(send())


def test_vllm_mounts_ours_and_every_route_that_is_listed(application: Any) -> None:
    mounted = routes(application)
    for method, path in (
        ("GET", "/health"), ("GET", "/live"), ("GET", "/ready"), ("GET", "/startup"),
        ("GET", "/version"), ("GET", "/v1/models"),
        ("GET", "/v1/models/{name}"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
        ("GET", "/metrics"),
    ):  # fmt: skip
        assert (method, path) in mounted


def test_every_other_route_of_vllm_is_closed(application: Any) -> None:
    from serving.gate import access_of

    closed = {(m, p) for m, p in routes(application) if access_of(m, p.replace("{", "x")) is None}
    assert len(closed) > 10  # else this proves nothing
    for method, path in sorted(closed):
        answer = ask(application, method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == 404, (method, path)
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "route_not_found", (method, path)


def test_the_application_does_not_start_without_the_endpoint_plugins_state(
    application: Any,
) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application({"type": "lifespan"}, receive, send))
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]


def imports_vllm(source: str) -> bool:
    names = [
        name
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    ]
    return any(name.partition(".")[0] == "vllm" for name in names)


def test_vllm_is_imported_in_one_file_only() -> None:
    folders = ("adapters", "serving", "training", "loadtests")
    files = [ROOT / "dragoman.py", *(f for d in folders for f in (ROOT / d).rglob("*.py"))]
    importers = [f for f in files if imports_vllm(f.read_text(encoding="utf-8"))]
    assert importers == [ROOT / "serving" / "vllm_compat.py"]


@pytest.mark.parametrize("line", [
    "import vllm", "import vllm.config", "from vllm import LLM", "from vllm.lora import x",
    "def f():\n    import os, vllm",
])  # fmt: skip
def test_that_search_finds_an_import_wherever_it_stands(line: str) -> None:
    assert imports_vllm(line)
    assert not imports_vllm(line.replace("vllm", "vllmx"))


def test_vllm_reads_the_variable_that_keeps_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm import envs

    named = plan(ServingSettings(base="b"), Path("/base"), environment={}).environment
    monkeypatch.setenv("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", named["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"])
    assert envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE == 75
