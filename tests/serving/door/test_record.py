from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from serving.door import caller, used
from serving.door.caller import Caller
from serving.door.record import ERROR, record_of, write_record
from serving.door.request_id import STATE
from serving.door.used import Used

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Answered:
    """What the edge knows of one request at its end."""

    scope: dict[str, Any]
    status: int = 200
    gone: bool = False
    finished: bool = True
    bytes_in: int = 0
    state: dict[str, Any] = field(default_factory=dict)


def scope(path: str = "/v1/chat/completions", **changes: Any) -> dict[str, Any]:
    return {
        "method": "POST", "path": path, "headers": [], "query_string": b"api_key=secret", **changes,
    }  # fmt: skip


def answered(path: str = "/v1/chat/completions", **changes: Any) -> Answered:
    return Answered(scope(path), **changes)


def translated(**changes: Any) -> Answered:
    state = {
        STATE: "r-1",
        caller.STATE: Caller(name="web"),
        "dragoman": SimpleNamespace(route="name:stable"),
        "dragoman_labels": ("shop-en-fr", "3"),
        used.STATE: Used(
            characters=15, prompt_tokens=12, completion_tokens=34, queue_s=0.0021,
            first_token_s=0.05,
        ),
    }  # fmt: skip
    return answered(state=state, bytes_in=230, **changes)


def logged(ended: Answered, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "dragoman.access"):
        write_record(ended, seconds=0.4123)
    [record] = caplog.records
    return record


def test_a_request_s_record_says_who_asked_what_and_what_it_took() -> None:
    assert record_of(translated(), seconds=0.4123) == {
        "event": "request", "request_id": "r-1", "key": "web", "method": "POST",
        "route": "/v1/chat/completions", "status": 200, "outcome": "ok", "error": None,
        "adapter": "shop-en-fr", "version": 3, "alias": "name:stable", "ms": 412.3,
        "queue_ms": 2.1, "first_token_ms": 50.0, "prompt_tokens": 12, "completion_tokens": 34,
        "characters": 15, "bytes_in": 230,
    }  # fmt: skip


def test_what_a_request_did_not_come_to_is_none() -> None:
    record = record_of(answered(status=404), seconds=0.001)
    missing = {name for name, value in record.items() if value is None}
    assert missing == {
        "request_id", "key", "error", "adapter", "version", "alias", "queue_ms", "first_token_ms",
        "prompt_tokens", "completion_tokens", "characters",
    }  # fmt: skip


def test_the_base_model_has_no_version() -> None:
    record = record_of(answered(state={"dragoman_labels": ("base", "")}), seconds=0)
    assert (record["adapter"], record["version"], record["alias"]) == ("base", None, None)


def test_a_line_for_people_names_key_adapter_tokens_and_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert logged(translated(), caplog).getMessage() == (
        "POST /v1/chat/completions 200 412 ms key=web adapter=shop-en-fr@3 12+34 tokens id=r-1"
    )


def test_the_line_of_a_refusal_names_its_code(caplog: pytest.LogCaptureFixture) -> None:
    state = {STATE: "r-2", ERROR: "rate_limited", used.STATE: Used()}
    ended = answered(status=429, state=state)
    said = logged(ended, caplog).getMessage()
    assert said == "POST /v1/chat/completions 429 412 ms outcome=rate_limited id=r-2"


def test_the_fields_travel_with_the_line(caplog: pytest.LogCaptureFixture) -> None:
    record = vars(logged(translated(), caplog))
    fields = record_of(translated(), seconds=0.4123)
    assert {name: record[name] for name in fields} == fields


@pytest.mark.parametrize(("ended", "outcome"), [
    (answered(), "ok"),
    (answered(status=404), "refused"),
    (answered(status=422, state={ERROR: "limit_exceeded"}), "limit_exceeded"),
    (answered(status=503, state={ERROR: "overloaded"}), "overloaded"),
    (answered(status=500), "failed"),
    (answered(status=200, state={ERROR: "engine_dead"}), "engine_dead"),
    (answered(status=200, finished=False), "failed"),
    (answered(status=200, finished=False, gone=True), "gone"),
    (answered(status=200, gone=True), "ok"),
    (answered(status=499, gone=True), "gone"),
    (answered(status=0, finished=False, gone=True), "gone"),
])  # fmt: skip
def test_the_outcome_says_how_a_request_ended(ended: Answered, outcome: str) -> None:
    assert record_of(ended, seconds=0)["outcome"] == outcome


def test_a_client_that_was_told_nothing_has_status_499() -> None:
    assert record_of(answered(status=0, gone=True, finished=False), seconds=0)["status"] == 499


@pytest.mark.parametrize(("ended", "level"), [
    (answered(), logging.INFO),
    (answered(status=404), logging.INFO),
    (answered(status=429, state={ERROR: "rate_limited"}), logging.INFO),
    (answered(status=499, gone=True), logging.INFO),
    (answered(status=200, finished=False, gone=True), logging.INFO),
    (answered(status=500), logging.WARNING),
    (answered(status=503, state={ERROR: "overloaded"}), logging.WARNING),
    (answered(status=200, state={ERROR: "engine_dead"}), logging.WARNING),
    (answered("/ready"), logging.DEBUG),
    (answered("/metrics/"), logging.DEBUG),
    (answered("/ready", status=503), logging.WARNING),
    (answered("/metrics", status=401), logging.INFO),
])  # fmt: skip
def test_what_went_wrong_on_our_side_is_a_warning_and_a_probe_is_silent(
    ended: Answered, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert logged(ended, caplog).levelno == level


def test_a_probe_that_found_all_well_is_not_logged_at_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "dragoman.access"):
        write_record(answered("/health"), seconds=0)
        assert not caplog.records
        write_record(answered("/v1/models"), seconds=0)
    assert len(caplog.records) == 1


def test_no_query_string_and_no_header_but_the_ids_is_in_a_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = [(b"authorization", b"Bearer secret"), (b"cookie", b"secret"), (b"x", b"secret")]
    ended = translated()
    ended.scope = scope(headers=headers)
    record = logged(ended, caplog)
    assert "secret" not in json.dumps(vars(record), default=str)
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize("path", [
    '/v1/x\nPOST /v1/chat/completions 200 1 ms key=admin', "/a\r\n{}", "/a\x1b[31m", "/a b", '/"',
    "/\u2028", "/\x85", "/\ud800", "/%0a", "/é",
])  # fmt: skip
def test_a_path_cannot_forge_a_line_or_a_field(path: str, caplog: pytest.LogCaptureFixture) -> None:
    record = logged(answered(path), caplog)
    route = record_of(answered(path), seconds=0)["route"]
    assert route.isascii()
    assert route.isprintable()
    assert not set(' "\\') & set(route)
    assert record.getMessage().split(" ") == ["POST", route, "200", "412", "ms", "id=None"]


def test_paths_that_differ_stay_different() -> None:
    routes = {record_of(answered(path), seconds=0)["route"] for path in ("/a b", "/a%20b", "/a+b")}
    assert len(routes) == 3


def test_a_long_path_and_a_long_method_are_cut() -> None:
    ended = answered("/" + "é" * 100_000)
    ended.scope["method"] = "M" * 1000
    record = record_of(ended, seconds=0)
    assert len(record["route"]) == 203
    assert record["route"].endswith("...")
    assert record["method"] == "M" * 16 + "..."


@pytest.mark.parametrize("given", [
    f"00-{TRACE}-00f067aa0ba902b7-01", f" 00-{TRACE}-00f067aa0ba902b7-01 ",
    f"01-{TRACE}-00f067aa0ba902b7-01-later",
])  # fmt: skip
def test_the_trace_of_a_request_is_in_its_record(given: str) -> None:
    ended = answered()
    ended.scope["headers"] = [(b"traceparent", given.encode())]
    assert record_of(ended, seconds=0)["trace_id"] == TRACE


@pytest.mark.parametrize("given", [
    b"", b"x", f"00-{TRACE}-01".encode(), f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(),
    f"00-{TRACE.upper()}-00f067aa0ba902b7-01".encode(), b"\xff\n",
])  # fmt: skip
def test_a_traceparent_that_is_none_is_left_out(given: bytes) -> None:
    ended = answered()
    ended.scope["headers"] = [(b"traceparent", given)]
    assert "trace_id" not in record_of(ended, seconds=0)
