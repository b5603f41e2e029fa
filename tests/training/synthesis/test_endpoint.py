"""The endpoint against a real server that is slow, refuses, fails and talks nonsense."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from adapters.errors import PromptInvalid, SynthesisFailed
from adapters.ids import LanguagePair
from tests.training.synthesis.served import Reply, Served, completion, serving, text_of, upper
from training.synthesis.asking import Asking
from training.synthesis.backoff import Backoff, seconds_of
from training.synthesis.endpoint import Endpoint, Server
from training.synthesis.translator import Answer, Fault, Job

EN_FR = LanguagePair("en", "fr")
FAST = Backoff(tries=3, first_s=0.01)


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


def ask(server: Served, *texts: str, concurrency: int = 4, **asking: Any) -> dict[str, Answer]:
    known = Server(server.url, "teacher", "secret-key", concurrency)
    endpoint = Endpoint(known, Asking(EN_FR, **asking), FAST)
    return {job.text: answer for job, answer in endpoint.translate(map(Job, texts))}


def in_turn(*replies: Reply | Callable[[dict[str, Any]], Reply]) -> Callable[..., Reply]:
    """Return what answers with each of `replies`, then as it should."""
    left = list(replies)

    def reply(body: dict[str, Any]) -> Reply:
        found = left.pop(0) if left else upper
        return found(body) if callable(found) else found

    return reply


def test_every_text_comes_back_with_its_translation(server: Served) -> None:
    texts = [f"text {n}" for n in range(30)]
    answers = ask(server, *texts)
    assert {text: answer.text for text, answer in answers.items()} == {t: t.upper() for t in texts}
    assert answers["text 3"].mean_logprob == -1.0
    assert (answers["text 3"].prompt_tokens, answers["text 3"].completion_tokens) == (10, 5)


def test_languages_are_named_and_the_key_is_a_header(server: Served) -> None:
    ask(server, "Save", system="You know {target}.")
    (body,) = server.asked
    assert body["model"] == "teacher"
    assert body["messages"][0] == {"role": "system", "content": "You know French."}
    assert body["messages"][1]["content"].startswith("Translate from English to French.")
    assert body["logprobs"] is True
    assert "seed" not in body
    assert server.headers[0]["authorization"] == "Bearer secret-key"


def test_braces_in_a_text_stay_as_they_are(server: Served) -> None:
    assert (
        ask(server, "Open {name} {0}", user="{text}")["Open {name} {0}"].text == "OPEN {NAME} {0}"
    )


def test_whitespace_around_a_text_is_put_back(server: Served) -> None:
    assert ask(server, "  - a\n\n")["  - a\n\n"].text == "  - A\n\n"
    assert server.texts() == ["- a"]


def test_settings_of_the_body_can_be_changed_and_taken_out(server: Served) -> None:
    ask(server, "a", temperature=1.0, more={"max_tokens": None, "top_p": 0.9})
    assert server.asked[0]["top_p"] == 0.9
    assert "max_tokens" not in server.asked[0]
    assert server.asked[0]["seed"] == 0


def test_no_more_are_asked_at_a_time_than_allowed_and_none_before_its_turn(server: Served) -> None:
    server.delay_s = 0.01
    taken = []

    def jobs() -> Iterator[Job]:
        for n in range(40):
            taken.append(n)
            yield Job(str(n))

    endpoint = Endpoint(Server(server.url, "m", concurrency=3), Asking(EN_FR), FAST)
    with closing(endpoint.translate(jobs())) as answers:
        next(answers)
        assert len(taken) == 3
        assert len(list(answers)) == 39
    assert server.most == 3


def test_too_many_requests_are_waited_for_as_the_server_says(server: Served) -> None:
    server.reply = in_turn((429, {"retry-after": "0.2"}, b"slow down"))
    began = time.monotonic()
    answer = ask(server, "a")["a"]
    assert time.monotonic() - began >= 0.2
    assert (answer.text, answer.requests) == ("A", 2)


@pytest.mark.parametrize("bad", [
    (500, {}, b"oh"), (503, {}, b""), (200, {}, b"<html>"), (200, {}, b"{}"),
    (200, {}, b'{"choices": []}'), (200, {}, b'{"choices": [{"message": 1}]}'),
])  # fmt: skip
def test_a_server_that_fails_or_talks_nonsense_is_asked_again(server: Served, bad: Reply) -> None:
    server.reply = in_turn(bad)
    assert ask(server, "a")["a"] == Answer("A", -1.0, 10, 5, requests=2)


def test_a_text_that_never_gets_an_answer_does_not_stop_the_others(server: Served) -> None:
    server.reply = lambda body: (500, {}, b"oh") if text_of(body) == "bad" else upper(body)
    answers = ask(server, "a", "bad", "b")
    assert answers["bad"].fault is Fault.UNANSWERED
    assert answers["bad"].requests == FAST.tries
    assert (answers["a"].text, answers["b"].text) == ("A", "B")


def test_a_server_without_log_probabilities_is_asked_without_them(server: Served) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        if "logprobs" in body:
            return 400, {}, b'{"error": "logprobs are not supported"}'
        return completion(text_of(body).upper())

    server.reply = reply
    answers = ask(server, "a", "b", "c", concurrency=1)
    assert answers["a"] == Answer("A", None, 10, 5, requests=2)
    assert answers["c"] == Answer("C", None, 10, 5, requests=1)
    assert len(server.asked) == 4


def test_a_text_that_is_refused_does_not_stop_the_others(server: Served) -> None:
    server.reply = lambda body: (400, {}, b"too long") if len(text_of(body)) > 5 else upper(body)
    answers = ask(server, "a", *(f"too long {n}" for n in range(20)), "b", concurrency=1)
    assert sum(answer.fault is Fault.REFUSED for answer in answers.values()) == 20
    assert answers["b"].text == "B"
    assert answers["b"].mean_logprob == -1.0, "the refusals were not for the log-probabilities"


def test_a_server_that_refuses_everything_is_told(server: Served) -> None:
    server.reply = lambda _: (400, {}, b"unknown parameter top_q")
    with pytest.raises(SynthesisFailed, match="unknown parameter top_q"):
        ask(server, *map(str, range(20)))


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_wrong_key_or_model_ends_it_at_once_and_the_key_is_not_told(
    server: Served, status: int
) -> None:
    server.reply = lambda _: (status, {}, b"no such model")
    with pytest.raises(SynthesisFailed, match="--key-env") as caught:
        ask(server, "a", "b", concurrency=1)
    assert "no such model" in str(caught.value)
    assert "secret-key" not in str(caught.value) + repr(Server(server.url, "m", "secret-key"))
    assert len(server.asked) == 1


def test_a_server_that_is_gone_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = Served(url=f"http://127.0.0.1:{unused.getsockname()[1]}")
    with pytest.raises(SynthesisFailed, match="run the same command again"):
        ask(gone, *map(str, range(20)))


def test_an_answer_that_ran_into_its_limit_is_told(server: Served) -> None:
    server.reply = lambda _: completion("bla bla bla", finish="length")
    assert ask(server, "a")["a"].fault is Fault.CUT


def test_an_answer_without_text_is_a_refusal(server: Served) -> None:
    server.reply = lambda _: completion(None)
    assert ask(server, "a")["a"].fault is Fault.REFUSED


def test_leaving_in_the_midst_waits_for_nothing(server: Served) -> None:
    server.reply = in_turn(upper)
    endpoint = Endpoint(Server(server.url, "m", concurrency=2), Asking(EN_FR), FAST)
    answers = endpoint.translate(map(Job, map(str, range(10))))
    next(answers)
    server.delay_s = 30.0
    began = time.monotonic()
    answers.close()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("url", "asked"), [
    ("http://h:1", "http://h:1/v1/chat/completions"),
    ("http://h:1/", "http://h:1/v1/chat/completions"),
    ("https://h/v1", "https://h/v1/chat/completions"),
    ("https://h/api/v3/", "https://h/api/v3/chat/completions"),
    ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
    ("https://h/v1?a=b", "https://h/v1/chat/completions?a=b"),
])  # fmt: skip
def test_an_address_may_be_given_in_part(url: str, asked: str) -> None:
    assert Server(url, "m").completions == asked


def test_identity_is_the_model_and_all_that_is_asked() -> None:
    one = Endpoint(Server("http://a", "m", "k"), Asking(EN_FR)).identity
    assert one == Endpoint(Server("http://b", "m"), Asking(EN_FR)).identity
    for other in (Asking(EN_FR, user="{text}"), Asking(EN_FR, temperature=1.0)):
        assert one != Endpoint(Server("http://a", "m"), other).identity
    assert "k" not in one.values()


@pytest.mark.parametrize("user", ["no field", "{text} {text}", "{text!r}", "{text} {other}", "{"])
def test_a_prompt_that_cannot_be_filled_is_told(user: str) -> None:
    with pytest.raises(PromptInvalid):
        Asking(EN_FR, user=user)


def test_waits_double_up_to_a_longest() -> None:
    backoff = Backoff(first_s=0.5, longest_s=3.0)
    assert [backoff.wait_s(n) for n in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.wait_s(0, "7") == 7.0
    assert backoff.wait_s(0, "86400") == 300.0
    assert backoff.wait_s(1, "soon") == 1.0


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    assert 55 < (seconds_of(soon) or 0) <= 60
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert seconds_of("-5") == 0.0
    assert seconds_of(None) is None


def test_half_a_character_is_for_the_server_to_refuse(server: Served) -> None:
    server.reply = lambda body: (400, {}, b"no text") if "\ud83d" in text_of(body) else upper(body)
    answers = ask(server, "a", "b \ud83d", concurrency=1)
    assert answers["b \ud83d"].fault is Fault.REFUSED
