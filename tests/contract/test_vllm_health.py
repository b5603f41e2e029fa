"""How vLLM's engine dies, drains and is asked: what serving/health.py and observe.py rely on."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from serving import vllm_compat
from serving.chat import ContractChat, ContractCompletion
from tests.contract.shapes import parameters


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Any:
    from vllm.v1.engine.core import EngineCore

    monkeypatch.setattr(EngineCore, "dragoman_markers", None, raising=False)
    return EngineCore


def test_the_engine_core_says_what_is_in_force_in_it(core: Any) -> None:
    vllm_compat.answer_in_engine_core(lambda: ["engine_guard"])
    assert core.dragoman_markers(SimpleNamespace()) == ["engine_guard"]


def test_a_method_of_the_engine_core_can_be_called_by_its_name() -> None:
    # If this moves, readiness no longer sees the engine core: find where utilities are dispatched.
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.engine.core_client import AsyncMPClient

    assert "getattr(self, method_name)" in inspect.getsource(EngineCoreProc._handle_client_request)
    assert parameters(AsyncMPClient.call_utility_all_async) == ["self", "method", "args"]


def test_the_engine_core_loads_the_general_plugins(core: Any) -> None:
    assert "load_general_plugins()" in inspect.getsource(core.__init__)


def test_the_engines_death_reaches_every_request() -> None:
    # If this moves, streams hang when the engine dies until Traffic.fail ends them.
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core_client import BackgroundResources

    assert isinstance(vars(AsyncLLM)["errored"], property)
    assert "propagate_error(e)" in inspect.getsource(AsyncLLM._run_output_handler)
    assert "engine_dead" in inspect.getsource(BackgroundResources)


@pytest.mark.parametrize("cls", [ContractChat, ContractCompletion])
def test_an_error_in_mid_stream_goes_through_what_we_override(cls: Any) -> None:
    ours = cls.create_streaming_error_response
    base = cls.__mro__[2]
    assert "self.create_streaming_error_response(e)" in inspect.getsource(base)
    assert ours is not base.create_streaming_error_response
    assert parameters(base.create_streaming_error_response)[:2] == ["self", "message"]


def test_a_dead_engine_is_told_by_the_error_that_we_replace() -> None:
    from vllm.entrypoints.generate.base.serving import GenerateBaseServing

    assert "self.engine_client.dead_error" in inspect.getsource(GenerateBaseServing._preflight)


@pytest.mark.parametrize("cls", [ContractChat, ContractCompletion])
def test_beam_search_asks_the_engine_that_we_put_in_its_place(cls: Any) -> None:
    # If this moves, one request of beam search is counted as hundreds.
    base = cls.__mro__[2]
    assert "lora_request" in parameters(base.beam_search)
    assert "self.engine_client.generate(" in inspect.getsource(base.beam_search)
    assert "lora_request=lora_request" in inspect.getsource(base)


def test_a_server_ends_by_the_flag_that_we_set_when_the_engine_died() -> None:
    from vllm.entrypoints.launchers import launcher

    assert "app.state.server = server" in inspect.getsource(launcher.serve_http)
    assert "server.should_exit = True" in inspect.getsource(launcher.terminate_if_errored)


def test_the_scheduler_tells_what_saturation_is_made_of() -> None:
    from vllm.v1.metrics.stats import LoRARequestStates, SchedulerStats

    used = {
        "num_running_reqs", "num_waiting_reqs", "num_skipped_waiting_reqs", "kv_cache_usage",
        "running_lora_adapters",
    }  # fmt: skip
    assert used <= {*parameters(SchedulerStats)}
    assert "update_scheduler_stats" in vars(LoRARequestStates)
