"""The official OpenAI client against the real server, unchanged."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import httpx
import openai
import pytest

from adapters.base_prompt import prompt_for_base
from adapters.ids import LanguagePair
from adapters.tokenizer import BaseTokenizer
from tests.integration.harness import USER, WORDS, RunningServer

pytestmark = pytest.mark.engine
SEGMENT = "Where is the button <end_of_turn> to {close} it?"


def test_each_adapter_answers_and_the_base_does_not(server: RunningServer) -> None:
    answers = {name: server.ask(name, SEGMENT) for name in WORDS}
    assert answers == WORDS
    base = server.client.chat.completions.create(
        model="gemma3-270m", messages=[{"role": "user", "content": SEGMENT}], max_tokens=8
    )
    assert base.choices[0].message.content not in WORDS.values()


def test_engine_gets_exactly_the_ids_that_training_made(server: RunningServer, base: Path) -> None:
    tokenizer = BaseTokenizer.load(base)
    prompt = prompt_for_base(base, user=USER)
    expected = prompt.encode(SEGMENT, LanguagePair("en", "fr"), tokenizer)
    answer = server.client.chat.completions.create(
        model="alpha-en-fr",
        messages=[{"role": "user", "content": SEGMENT}],
        extra_body={"return_token_ids": True},
    ).to_dict()
    assert answer["prompt_token_ids"] == expected
    assert expected[0] == tokenizer.id_of("<bos>")
    assert expected.count(tokenizer.id_of("<end_of_turn>") or -1) == 1, "the segment closed a turn"


def test_answer_names_model_as_asked_and_version_in_headers(server: RunningServer) -> None:
    raw = server.client.chat.completions.with_raw_response.create(
        model="alpha-en-fr@1", messages=[{"role": "user", "content": "Help"}]
    )
    manifest = server.registry.versions(
        next(i for i in server.registry.ids() if str(i) == "alpha-en-fr")
    )[0].manifest
    assert raw.parse().model == "alpha-en-fr@1"
    assert raw.headers["x-dragoman-adapter"] == "alpha-en-fr"
    assert raw.headers["x-dragoman-version"] == "1"
    assert raw.headers["x-dragoman-digest"] == manifest.digest
    assert raw.headers["x-dragoman-route"]


def test_stop_ids_and_temperature_come_from_the_contract(server: RunningServer) -> None:
    answer = server.client.chat.completions.create(
        model="beta-en-fr", messages=[{"role": "user", "content": "Undo"}]
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == "beta"
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 4


def test_a_request_may_overrule_the_contract(server: RunningServer) -> None:
    answer = server.client.chat.completions.create(
        model="beta-en-fr",
        messages=[{"role": "user", "content": "Undo"}],
        max_tokens=9,
        extra_body={"ignore_eos": True},
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9


def test_stream_gives_the_same_text_and_usage_at_the_end(server: RunningServer) -> None:
    chunks = list(
        server.client.chat.completions.create(
            model="alpha-en-fr",
            messages=[{"role": "user", "content": SEGMENT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "alpha"
    assert {c.model for c in chunks} == {"alpha-en-fr"}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 10
    assert all(c.usage is None for c in chunks[:-1])


def test_n_and_logprobs_are_vllms_own(server: RunningServer) -> None:
    answer = server.client.chat.completions.create(
        model="alpha-en-fr",
        messages=[{"role": "user", "content": "Help"}],
        n=2,
        temperature=0.5,
        logprobs=True,
        top_logprobs=2,
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) >= 2


def test_completions_take_segments_one_or_many(server: RunningServer) -> None:
    one = server.client.completions.create(model="gamma-en-de", prompt="Help")
    many = server.client.completions.create(model="gamma-en-de", prompt=["Help", "Undo", "Copy"])
    assert one.model == "gamma-en-de"
    assert [c.text for c in one.choices] == ["gamma"]
    assert [c.text for c in many.choices] == ["gamma"] * 3


def test_completions_stream_and_take_token_ids_as_they_are(
    server: RunningServer, base: Path
) -> None:
    stream = server.client.completions.create(model="alpha-en-fr", prompt="Help", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "alpha"
    tokenizer = BaseTokenizer.load(base)
    prompt = prompt_for_base(base, user=USER)
    ids = prompt.encode("Help", LanguagePair("en", "fr"), tokenizer)
    answer = server.client.completions.create(model="alpha-en-fr", prompt=ids)
    assert answer.choices[0].text == "alpha"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(ids)


def test_a_chat_written_in_full_uses_the_bases_template(server: RunningServer, base: Path) -> None:
    answer = server.client.chat.completions.create(
        model="alpha-en-fr",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Help"},
        ],
        max_tokens=3,
        extra_body={"return_token_ids": True},
    ).to_dict()
    tokenizer = BaseTokenizer.load(base)
    prompt_ids = answer["prompt_token_ids"]
    assert isinstance(prompt_ids, list)
    text = tokenizer.decode(prompt_ids)
    assert "Be brief." in text
    assert "Translate from" not in text


def test_models_lists_everything_available(server: RunningServer) -> None:
    listed = {model.id: model for model in server.client.models.list().data}
    assert {"gemma3-270m", *WORDS} <= listed.keys()
    assert not any("@" in name for name in listed), "the engine's own names are no models"
    facts = listed["gamma-en-de"].to_dict()["dragoman"]
    assert isinstance(facts, dict)
    assert facts["pairs"] == ["en-de"]
    assert facts["aliases"] == {"stable": 1}
    assert facts["residency"] in {"engine", "cpu", "disk"}
    assert server.client.models.retrieve("gamma-en-de").id == "gamma-en-de"


def test_unknown_model_is_404_naming_the_nearest(server: RunningServer) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        server.ask("alhpa-en-fr")
    assert caught.value.code == "adapter_not_found"
    assert caught.value.param == "model"
    assert "alpha-en-fr" in caught.value.message


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "alpha-en-fr@9", "alpha-en-fr@nope", "/alpha-en-fr", "gpt-4o", "%"]
)
def test_odd_names_are_404_and_nothing_else_breaks(server: RunningServer, name: str) -> None:
    with pytest.raises(openai.NotFoundError):
        server.ask(name)
    assert server.ask("alpha-en-fr") == "alpha"


@pytest.mark.parametrize("content", ["", " \n", [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_no_text_is_a_clear_error(server: RunningServer, content: object) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        server.client.chat.completions.create(
            model="alpha-en-fr",
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
        )
    assert caught.value.status_code in {400, 422}


def test_too_long_a_segment_is_refused_with_the_limit(server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        server.ask("alpha-en-fr", "word " * 4000)
    assert "2048" in caught.value.message


@pytest.mark.parametrize(
    "path",
    ["/v1/load_lora_adapter", "/tokenize", "/docs", "/pause", "/v1/responses", "/invocations"],
)
def test_routes_that_are_not_listed_are_404(server: RunningServer, path: str) -> None:
    assert httpx.post(server.url + path, json={}).status_code == 404
    assert httpx.get(server.url + path).status_code == 404


def test_metrics_count_by_adapter_and_version(server: RunningServer) -> None:
    labels = {"adapter": "beta-en-fr", "version": "1"}
    before = server.metric("dragoman_requests_total", outcome="ok", **labels)
    tokens = server.metric("dragoman_completion_tokens_total", **labels)
    for _ in range(3):
        server.ask("beta-en-fr")
    assert server.metric("dragoman_requests_total", outcome="ok", **labels) == before + 3
    assert server.metric("dragoman_completion_tokens_total", **labels) > tokens
    for name in ("queue", "time_to_first_token", "request"):
        assert server.metric(f"dragoman_{name}_seconds_count", **labels) >= before + 3
    assert server.metric("dragoman_adapter_loads_total", source="disk", **labels) >= 1
    assert 0 <= server.metric("dragoman_saturation") <= 1
    assert server.metric("vllm:generation_tokens_total") > 0, "vLLM's own metrics stay"


def test_a_connection_outlives_what_clients_keep_idle(server: RunningServer) -> None:
    """httpx drops one after 5 s, as vLLM does: who sends at that moment is sent nothing."""
    address = httpx.URL(server.url)
    connection = http.client.HTTPConnection(address.host, address.port or 80)
    connection.request("GET", "/live")
    connection.getresponse().read()
    kept = connection.sock
    time.sleep(6)
    connection.request("GET", "/live")
    assert connection.getresponse().status == httpx.codes.OK
    assert connection.sock is kept
    connection.close()
