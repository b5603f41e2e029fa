"""The handlers and requests of vLLM that serving/ builds on, as they are installed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from serving import vllm_compat
from serving.chat import ContractChat, ContractCompletion
from serving.models import ContractModels
from tests import fakes
from tests.contract.shapes import assigned, parameters


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
