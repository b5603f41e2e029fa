"""How vLLM scores a prompt, which the check of golden answers stands on."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from serving import vllm_compat
from tests.contract.shapes import parameters

WEIGHTS: Any = SimpleNamespace(lora_name="a")


class Engine:
    """Answers as vLLM's engine client does: no figure for the first position."""

    def __init__(self, logprobs: list[float] | None) -> None:
        self.asked: list[tuple[Any, Any, str, Any]] = []
        self._logprobs = logprobs

    async def generate(
        self, prompt: Any, params: Any, request_id: str, *, lora_request: Any
    ) -> Any:
        self.asked.append((prompt, params, request_id, lora_request))
        told: Any = None
        if self._logprobs is not None:
            ids = prompt["prompt_token_ids"][1:]
            scored = zip(ids, self._logprobs, strict=True)
            told = [None, *({i: SimpleNamespace(logprob=p)} for i, p in scored)]
        yield SimpleNamespace(prompt_logprobs=told)


def score(engine: Engine) -> float:
    return asyncio.run(
        vllm_compat.score_prompt(engine, [5, 6, 7, 7], WEIGHTS, scored=2, name="a@1")
    )


def test_the_last_tokens_are_summed_and_the_prompt_is_not() -> None:
    assert score(Engine([-100.0, -1.0, -0.5])) == -1.5


def test_a_check_writes_one_token_and_shares_no_cache_with_users() -> None:
    engine = Engine([-1.0, -1.0, -1.0])
    score(engine)
    score(engine)
    (prompt, params, name, weights), (again, *_) = engine.asked
    assert (params.max_tokens, params.prompt_logprobs, params.temperature) == (1, 0, 0.0)
    assert params.skip_reading_prefix_cache, "vLLM would leave out the scores of cached blocks"
    assert prompt["type"] == "token"
    assert prompt["cache_salt"] != again["cache_salt"]
    assert "a@1" in name
    assert weights is WEIGHTS


def test_an_engine_without_scores_is_an_error_and_no_mismatch() -> None:
    with pytest.raises(RuntimeError, match="no log-probabilities for a@1"):
        score(Engine(None))


def test_the_engine_client_is_still_called_like_this() -> None:
    from vllm.logprobs import Logprob
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

    assert parameters(AsyncLLM.generate)[1:4] == ["prompt", "sampling_params", "request_id"]
    assert {"lora_request"} <= set(parameters(AsyncLLM.generate))
    assert parameters(AsyncLLM.remove_lora) == ["self", "lora_id"]
    assert "prompt_logprobs" in parameters(RequestOutput.__init__)
    assert "logprob" in Logprob.__annotations__


def test_the_engine_still_says_whether_it_gives_logits() -> None:
    from typing import get_args

    from vllm.config import ModelConfig
    from vllm.config.model import LogprobsMode

    assert "logprobs_mode" in ModelConfig.__annotations__
    modes = set(get_args(LogprobsMode))
    assert {mode for mode in modes if "logits" not in mode} == {
        "raw_logprobs",
        "processed_logprobs",
    }


def test_the_salt_still_keeps_blocks_apart() -> None:
    from vllm.v1.core import kv_cache_utils

    source = inspect.getsource(kv_cache_utils.generate_block_hash_extra_keys)
    assert "request.cache_salt" in source
