"""What serving/ relies on in vLLM, held against the vLLM that is installed."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from adapters.errors import FileMissing
from serving import vllm_compat
from serving.chat import ContractChat, ContractCompletion
from serving.engine_guard import check_folder
from serving.launch import PLUGINS, plan
from serving.models import ContractModels
from serving.settings import HANDOVER, ServingSettings
from serving.stats import SaturationLogger, saturation
from serving.worker import WorkerExtension
from tests import fakes

ROOT = Path(__file__).parents[2]


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def assigned(cls: type) -> set[str]:
    """Return the names that a class or its bases set on `self`, or define."""
    names = set(dir(cls))
    for each in cls.__mro__[:-1]:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(each)))
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
    return names


@pytest.mark.parametrize("name", sorted(vllm_compat.SOURCES))
def test_every_name_is_where_we_look_for_it(name: str) -> None:
    assert inspect.isclass(getattr(vllm_compat, name))


def test_a_name_that_we_do_not_use_is_not_offered() -> None:
    with pytest.raises(AttributeError, match="LLMEngine"):
        _ = vllm_compat.LLMEngine


def test_the_command_line_does_not_import_vllm() -> None:
    modules = "serving.cli, serving.launch, serving.supervisor, serving.resolver, serving.gate"
    code = f"import sys, {modules}; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- handlers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "name", "expected"), [
    (ContractChat, "create_chat_completion", ["self", "request", "raw_request"]),
    (ContractChat, "render_chat_request", ["self", "request"]),
    (ContractCompletion, "create_completion", ["self", "request", "raw_request"]),
    (ContractCompletion, "render_completion_request", ["self", "request"]),
    (ContractChat, "_check_model", ["self", "request"]),
    (ContractCompletion, "_check_model", ["self", "request"]),
    (ContractChat, "_maybe_get_adapters", ["self", "request", "supports_default_mm_loras"]),
    (ContractCompletion, "_maybe_get_adapters", ["self", "request", "supports_default_mm_loras"]),
    (ContractModels, "model_name", ["self", "lora_request"]),
    (ContractModels, "show_available_models", ["self"]),
])  # fmt: skip
def test_what_we_override_is_still_called_like_this(
    cls: type, name: str, expected: list[str]
) -> None:
    theirs = next(base for base in cls.__mro__ if base.__module__.startswith("vllm."))
    assert parameters(getattr(theirs, name)) == expected
    assert parameters(getattr(cls, name)) == expected
    ours, vllms = getattr(cls, name), getattr(theirs, name)
    assert ours is not vllms
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(vllms)


@pytest.mark.parametrize("cls", [ContractChat, ContractCompletion])
def test_handlers_have_the_attributes_that_we_use_and_replace(cls: type) -> None:
    needed = {"models", "engine_client", "online_renderer", "model_config", "_preflight"}
    assert needed <= assigned(cls.__mro__[2])


def test_the_list_of_models_has_the_attributes_that_we_use() -> None:
    needed = {"base_model_paths", "lora_requests", "model_config", "is_base_model"}
    assert needed <= assigned(ContractModels.__mro__[1])


@pytest.mark.parametrize(("cls", "create", "render"), [
    (ContractChat, "_create_chat_completion", "render_chat_request"),
    (ContractCompletion, "_create_completion", "render_completion_request"),
])  # fmt: skip
def test_vllms_handlers_still_ask_what_we_override(cls: type, create: str, render: str) -> None:
    # An override that nobody calls would answer without the contract.
    source = inspect.getsource(getattr(cls, create))
    for called in (
        f"self.{render}(request)",
        "self._maybe_get_adapters(",
        "self.models.model_name(",
    ):
        assert called in source
    theirs = getattr(cls.__mro__[2], render)
    assert "self._check_model(request)" in inspect.getsource(theirs)
    assert "self.engine_client.generate(" in source


def test_an_adopted_handler_keeps_its_state_and_answers_as_ours() -> None:
    theirs = object.__new__(vllm_compat.OpenAIServingChat)
    theirs.models = marker = object()  # type: ignore[assignment]
    ours = vllm_compat.adopt(theirs, ContractChat)
    assert type(ours) is ContractChat
    assert type(theirs) is vllm_compat.OpenAIServingChat
    assert ours.models is marker


def test_a_handler_of_another_kind_is_not_adopted() -> None:
    theirs = object.__new__(vllm_compat.OpenAIServingCompletion)
    with pytest.raises(TypeError, match="ContractChat"):
        vllm_compat.adopt(theirs, ContractChat)


def test_the_renderer_takes_prompts_of_ids() -> None:
    from vllm.renderers.online_renderer import OnlineRenderer

    assert parameters(OnlineRenderer.preprocess_cmpl)[:3] == ["self", "request", "prompts"]
    assert inspect.iscoroutinefunction(OnlineRenderer.preprocess_cmpl)


def test_the_engine_is_called_as_we_wrap_it() -> None:
    from vllm.v1.engine.async_llm import AsyncLLM

    assert parameters(AsyncLLM.generate)[:4] == ["self", "prompt", "sampling_params", "request_id"]
    assert "lora_request" in parameters(AsyncLLM.generate)
    assert inspect.isasyncgenfunction(AsyncLLM.generate)
    assert parameters(AsyncLLM.add_lora) == ["self", "lora_request"]
    assert parameters(AsyncLLM.collective_rpc)[:2] == ["self", "method"]
    assert isinstance(AsyncLLM.errored, property)


def test_outputs_carry_what_we_count() -> None:
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.metrics.stats import RequestStateStats

    assert {"prompt_token_ids", "outputs", "metrics", "finished"} <= {*parameters(RequestOutput)}
    assert {"token_ids", "finish_reason"} <= {*parameters(CompletionOutput)}
    used = {
        "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts", "first_token_latency",
        "num_generation_tokens",
    }  # fmt: skip
    assert used <= {*parameters(RequestStateStats)}


def test_finish_reasons_are_those_that_we_count() -> None:
    from vllm.v1.engine import FINISH_REASON_STRINGS

    from serving.observe import _OUTCOMES

    # "repetition" ends an answer that loops: not what a user asked for.
    assert {*FINISH_REASON_STRINGS} - {"repetition"} == {*_OUTCOMES}


# --- requests ---------------------------------------------------------------------------------


def chat_request(**fields: Any) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.model_validate(body)


def completion_request(**fields: Any) -> Any:
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    return CompletionRequest.model_validate({"model": "m", "prompt": "Hi", **fields})


@pytest.mark.parametrize("make", [chat_request, completion_request])
def test_requests_have_the_fields_that_a_contract_fills(make: Any) -> None:
    fields = type(make()).model_fields
    needed = {
        "temperature", "top_p", "repetition_penalty", "stop_token_ids", "ignore_eos", "max_tokens",
        "truncate_prompt_tokens", "n", "model",
    }  # fmt: skip
    assert needed <= fields.keys()


@pytest.mark.parametrize("make", [chat_request, completion_request])
def test_metadata_of_a_request_is_an_extra_field(make: Any) -> None:
    wanted = {"source": "en", "target": "fr"}
    assert make(metadata=wanted).model_extra["metadata"] == wanted


@pytest.mark.parametrize("make", [chat_request, completion_request])
def test_what_a_contract_fills_reaches_the_sampler(make: Any, tmp_path: Path) -> None:
    from serving import contract

    manifest = fakes.contract(fakes.write_lora(tmp_path / "lora"))
    request = make()
    said = contract.said_by_client(request, {"model": "m", "temperature": None})
    contract.apply_decoding(request, manifest, said=said)
    contract.apply_length(request, manifest, source_tokens=100, room=1000, said=said)
    asked = getattr(request, "max_completion_tokens", None) or request.max_tokens
    sampling = request.to_sampling_params(asked, {"temperature": 0.7})
    assert sampling.temperature == manifest.decoding.temperature
    assert sampling.stop_token_ids == list(manifest.prompt.stop_token_ids)
    assert sampling.max_tokens == 300


@pytest.mark.parametrize("cls", [ContractChat, ContractCompletion])
def test_the_length_is_read_where_a_contract_writes_it(cls: type) -> None:
    create = "_create_chat_completion" if cls is ContractChat else "_create_completion"
    source = inspect.getsource(getattr(cls, create))
    assert ("request.max_completion_tokens" in source) == (cls is ContractChat)
    assert "request.max_tokens" in source


def test_a_completion_that_says_nothing_of_its_length_looks_as_if_it_said_16() -> None:
    # The reason for reading the body: once this fails, model_fields_set is enough again.
    request = completion_request()
    assert request.max_tokens == 16
    assert "max_tokens" in request.model_fields_set


def test_messages_reach_us_as_mappings() -> None:
    from serving.contract import lone_segment

    assert lone_segment(chat_request().messages) == "Hi"
    parts = [{"type": "text", "text": "Hi"}]
    assert (
        lone_segment(chat_request(messages=[{"role": "user", "content": parts}]).messages) == "Hi"
    )


def test_a_models_card_keeps_our_facts() -> None:
    extra: dict[str, Any] = {"dragoman": {"version": 3}}
    card = vllm_compat.ModelCard(id="ui-en-fr", **extra)
    assert card.model_dump()["dragoman"] == {"version": 3}
    fields = {"created", "owned_by", "root", "parent", "max_model_len"}
    assert fields <= vllm_compat.ModelCard.model_fields.keys()


# --- engine -----------------------------------------------------------------------------------


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return vLLM's WorkerLoRAManager; its method is put back afterwards."""
    from vllm.lora.worker_manager import WorkerLoRAManager

    monkeypatch.setattr(WorkerLoRAManager, "_load_adapter", WorkerLoRAManager._load_adapter)
    return WorkerLoRAManager


def test_adapters_are_still_read_where_the_guard_stands(unguarded: Any) -> None:
    from vllm.lora import worker_manager

    assert parameters(unguarded._load_adapter) == ["self", "lora_request"]
    lru = worker_manager.LRUCacheWorkerLoRAManager
    assert "_load_adapter" not in vars(lru)
    for cls in (unguarded, lru):
        assert "self._load_adapter(" in inspect.getsource(cls.add_adapter)
    source = inspect.getsource(worker_manager)
    assert source.count(".from_local_checkpoint(") == 1


def load(manager: Any, path: str) -> Any:
    request = vllm_compat.lora_request("a", lora_int_id=1, folder=Path(path))
    return manager._load_adapter(SimpleNamespace(), request)


def test_the_guard_looks_first_and_then_lets_vllm_load(
    unguarded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def vllms(_: Any, lora_request: Any) -> str:
        return f"loaded {lora_request.lora_path}"

    monkeypatch.setattr(unguarded, "_load_adapter", vllms)
    vllm_compat.guard_adapter_loading(check_folder)
    whole = fakes.write_lora(tmp_path / "whole")
    assert load(unguarded, str(whole)) == f"loaded {whole}"
    pickled = fakes.write_lora(tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    for path in (str(pickled), "org/name", str(tmp_path / "none")):
        with pytest.raises(FileMissing):
            load(unguarded, path)


def test_the_guard_is_applied_once(unguarded: Any) -> None:
    vllm_compat.guard_adapter_loading(check_folder)
    once = unguarded._load_adapter
    vllm_compat.guard_adapter_loading(check_folder)
    assert unguarded._load_adapter is once
    assert once.guarded_by_dragoman


def test_the_guard_is_inert_without_our_launcher(
    unguarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.engine_guard import install

    before = unguarded._load_adapter
    monkeypatch.delenv(HANDOVER, raising=False)
    install()
    assert unguarded._load_adapter is before


def test_residents_are_read_from_vllms_own_cache() -> None:
    from vllm.lora.model_manager import LRUCacheLoRAModelManager

    manager = object.__new__(LRUCacheLoRAModelManager)
    needed = {"lora_index_to_id", "_registered_adapters", "list_adapters"}
    assert needed <= assigned(LRUCacheLoRAModelManager)
    manager.lora_index_to_id = [7, None]
    registered = {7: object(), 9: object()}
    manager._registered_adapters = SimpleNamespace(cache=registered)  # type: ignore[assignment]
    worker = SimpleNamespace(
        model_runner=SimpleNamespace(lora_manager=SimpleNamespace(_adapter_manager=manager))
    )
    assert vllm_compat.resident_adapters(worker) == ({7}, {7, 9})


def test_the_worker_and_its_runner_have_the_attributes_on_the_way_there() -> None:
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    assert "model_runner" in assigned(CPUWorker)
    assert "self.lora_manager = " in inspect.getsource(LoRAModelRunnerMixin)
    # vLLM refuses an extension whose names clash with the worker's.
    ours = {name for name in vars(WorkerExtension) if not name.startswith("__")}
    assert ours
    assert not ours & {*dir(CPUWorker)}


def test_a_request_for_weights_is_what_vllm_takes() -> None:
    request = vllm_compat.lora_request("ui-en-fr@0123", lora_int_id=2**63 - 1, folder=Path("/r/a"))
    assert (request.lora_name, request.lora_int_id) == ("ui-en-fr@0123", 2**63 - 1)
    assert request.lora_path == "/r/a"
    assert request.load_inplace is False


def test_ranks_are_those_that_vllm_takes() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert vllm_compat.supported_max_ranks() == get_args(MaxLoRARanks)


def test_the_cpu_build_is_known_by_vllms_own_rule() -> None:
    from vllm.platforms import current_platform

    assert vllm_compat.is_cpu_build() == current_platform.is_cpu()


# --- statistics -------------------------------------------------------------------------------


def test_the_stat_logger_is_fed_as_vllm_feeds_its_own() -> None:
    base = vllm_compat.StatLoggerBase
    assert parameters(base.record)[:3] == ["self", "scheduler_stats", "iteration_stats"]
    assert parameters(base.__init__) == ["self", "vllm_config", "engine_index"]
    assert not inspect.isabstract(SaturationLogger)


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, 0.0),
    ({"num_running_reqs": 4}, 0.5),
    ({"num_running_reqs": 8, "num_waiting_reqs": 2, "num_skipped_waiting_reqs": 2}, 1.5),
    ({"num_running_reqs": 1, "kv_cache_usage": 0.75}, 0.75),
])  # fmt: skip
def test_saturation_is_demand_over_slots_or_the_cache_whichever_is_more(
    fields: dict[str, Any], expected: float
) -> None:
    from vllm.v1.metrics.stats import SchedulerStats

    assert saturation(SchedulerStats(**fields), slots=8) == expected


# --- plugins and start ------------------------------------------------------------------------


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
    assert (launched.max_lora_rank, launched.port, launched.shutdown_timeout) == (16, 81, 30)
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
        ("GET", "/health"), ("GET", "/ready"), ("GET", "/version"), ("GET", "/v1/models"),
        ("GET", "/v1/models/{name}"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
        ("GET", "/metrics"),
    ):  # fmt: skip
        assert (method, path) in mounted


def test_every_other_route_of_vllm_is_closed(application: Any) -> None:
    from serving.gate import is_listed

    closed = {(m, p) for m, p in routes(application) if not is_listed(m, p.replace("{", "x"))}
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


# --- one importer -----------------------------------------------------------------------------


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
