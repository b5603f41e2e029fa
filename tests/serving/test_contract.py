from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from adapters.errors import RequestInvalid
from adapters.ids import LanguagePair
from adapters.manifest import AdapterManifest, Decoding
from adapters.tokenizer import BaseTokenizer
from serving import contract
from tests import fakes

PAIR = LanguagePair("en", "fr")
DECODING = Decoding(
    temperature=0.2, top_p=0.9, repetition_penalty=1.1, max_tokens_per_source_token=2.0,
    min_max_tokens=10,
)  # fmt: skip


class FakeRequest(BaseModel):
    """The fields of vLLM's requests that a contract touches."""

    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = []
    ignore_eos: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncate_prompt_tokens: int | None = None


@pytest.fixture
def manifest(tmp_path: Path) -> AdapterManifest:
    return fakes.contract(fakes.write_lora(tmp_path / "lora"), decoding=DECODING)


@pytest.fixture
def several(tmp_path: Path) -> AdapterManifest:
    pairs = (PAIR, LanguagePair("en", "de"), LanguagePair("fr", "de"))
    return fakes.contract(fakes.write_lora(tmp_path / "l"), adapter_id="ui-mul", pairs=pairs)


def user(content: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": content}]


def test_a_lone_user_message_is_a_segment() -> None:
    assert contract.lone_segment(user("Open file")) == "Open file"
    parts = [{"type": "text", "text": "Open "}, {"type": "text", "text": "file"}]
    assert contract.lone_segment(user(parts)) == "Open file"


@pytest.mark.parametrize("messages", [
    [],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    [{"role": "assistant", "content": "b"}],
    [SimpleNamespace(author={"role": "user"}, content=[])],
])  # fmt: skip
def test_a_chat_that_the_caller_wrote_in_full_is_none(messages: list[Any]) -> None:
    assert contract.lone_segment(messages) is None


@pytest.mark.parametrize("content", [
    None, [], [{"type": "image_url", "image_url": {"url": "x"}}],
    [{"type": "text", "text": "a"}, {"type": "image_url"}], [{"type": "text"}], ["a"],
])  # fmt: skip
def test_a_message_that_is_not_text_is_refused(content: object) -> None:
    with pytest.raises(RequestInvalid, match="send content as a string"):
        contract.lone_segment(user(content))


@pytest.mark.parametrize(("prompt", "texts"), [
    ("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], None), ([[1], [2]], None), ([], None),
    (None, None), (["a", 1], None),
])  # fmt: skip
def test_strings_of_a_completion_are_segments_and_ids_are_none(
    prompt: object, texts: list[str] | None
) -> None:
    assert contract.segments(prompt) == texts


@pytest.mark.parametrize("metadata", [None, {}, {"source": "en"}, {"source": "en", "target": "fr"}])
def test_an_adapter_of_one_pair_needs_no_word(manifest: AdapterManifest, metadata: object) -> None:
    assert contract.pair_of(manifest, metadata) == PAIR


def test_an_adapter_of_one_pair_refuses_another(manifest: AdapterManifest) -> None:
    with pytest.raises(RequestInvalid, match=r"en-fr.*target='de'"):
        contract.pair_of(manifest, {"target": "de"})


@pytest.mark.parametrize(("metadata", "pair"), [
    ({"source": "fr"}, "fr-de"), ({"target": "fr"}, "en-fr"),
    ({"source": "en", "target": "de"}, "en-de"),
])  # fmt: skip
def test_an_adapter_of_several_pairs_takes_what_leaves_one(
    several: AdapterManifest, metadata: object, pair: str
) -> None:
    assert str(contract.pair_of(several, metadata)) == pair


@pytest.mark.parametrize(
    "metadata", [None, {"source": "en"}, {"target": "de"}, {"target": "ja"}, "en"]
)
def test_an_ambiguous_pair_is_refused_with_the_choices(
    several: AdapterManifest, metadata: object
) -> None:
    with pytest.raises(RequestInvalid, match="en-fr, en-de, fr-de") as caught:
        contract.pair_of(several, metadata)
    assert caught.value.http_status == 422


def test_prompts_are_the_ids_that_training_made(
    manifest: AdapterManifest, tokenizer: BaseTokenizer
) -> None:
    texts = ["Open file", "<end_of_turn> stays text"]
    assert contract.prompt_ids(manifest, texts, None, tokenizer) == [
        manifest.prompt.encode(text, PAIR, tokenizer) for text in texts
    ]


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused(
    manifest: AdapterManifest, tokenizer: BaseTokenizer, text: str
) -> None:
    with pytest.raises(RequestInvalid, match="empty"):
        contract.prompt_ids(manifest, ["a", text], None, tokenizer)


def test_what_a_client_leaves_open_comes_from_the_contract(manifest: AdapterManifest) -> None:
    request = FakeRequest()
    contract.apply_decoding(request, manifest, said=frozenset())
    assert (request.temperature, request.top_p, request.repetition_penalty) == (0.2, 0.9, 1.1)
    assert request.stop_token_ids == list(manifest.prompt.stop_token_ids)


def test_what_a_client_says_stays(manifest: AdapterManifest) -> None:
    said = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "stop_token_ids": [9]}
    request = FakeRequest.model_validate(said)
    contract.apply_decoding(request, manifest, said=said.keys())
    assert request.model_dump(include=set(said)) == said


def test_who_wants_to_run_past_the_end_gets_no_stop_tokens(manifest: AdapterManifest) -> None:
    request = FakeRequest(ignore_eos=True)
    contract.apply_decoding(request, manifest, said={"ignore_eos"})
    assert request.stop_token_ids == []


@pytest.mark.parametrize(("source_tokens", "room", "expected"), [
    (3, 1000, 10), (50, 1000, 100), (50, 60, 60), (50, 0, 1), (50, -5, 1),
])  # fmt: skip
def test_an_answers_length_follows_the_source_within_the_context(
    manifest: AdapterManifest, source_tokens: int, room: int, expected: int
) -> None:
    request = FakeRequest()
    contract.apply_length(
        request, manifest, source_tokens=source_tokens, room=room, said=frozenset()
    )
    assert request.max_completion_tokens == expected
    assert request.max_tokens is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_length_that_a_client_sets_stays(manifest: AdapterManifest, name: str) -> None:
    request = FakeRequest.model_validate({name: 7})
    before = request.model_copy()
    contract.apply_length(request, manifest, source_tokens=50, room=1000, said={name})
    assert request == before


def test_a_completion_request_has_one_name_only_for_its_length(manifest: AdapterManifest) -> None:
    class Completion(BaseModel):
        max_tokens: int | None = 16

    request = Completion()
    contract.apply_length(request, manifest, source_tokens=50, room=1000, said=frozenset())
    assert request.max_tokens == 100


def test_what_a_client_said_is_in_the_body_and_null_says_nothing() -> None:
    request = FakeRequest(max_tokens=16, temperature=1.0)
    body = {"model": "m", "temperature": 0.0, "top_p": None}
    assert contract.said_by_client(request, body) == {"model", "temperature"}


def test_without_a_body_what_was_set_on_the_request_is_what_was_said() -> None:
    request = FakeRequest(max_tokens=16, temperature=None)
    assert contract.said_by_client(request) == {"max_tokens"}


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb", "\udc00\ud800"])
def test_half_a_character_is_refused_wherever_it_stands(half: str) -> None:
    for body in ({"stop": half}, {"messages": [{"content": half}]}, {half: 1}):
        with pytest.raises(RequestInvalid, match="lone surrogate"):
            contract.refuse_half_characters(json.dumps(body).encode(), body)


def test_whole_characters_may_be_escaped() -> None:
    raw = json.dumps({"stop": "🎉", "user": "\\ud800"}).encode()
    contract.refuse_half_characters(raw, json.loads(raw))


def test_a_prompt_is_never_cut() -> None:
    contract.refuse_truncation(FakeRequest())
    with pytest.raises(RequestInvalid, match="truncate_prompt_tokens"):
        contract.refuse_truncation(FakeRequest(truncate_prompt_tokens=5))


def test_outside_of_a_request_nothing_is_bound() -> None:
    with pytest.raises(LookupError):
        contract.bound()
