"""A server that traces and logs JSON: what a collector is sent, and what stands in the log."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.harness import ROOT, RunningServer, start_server

pytestmark = pytest.mark.engine

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TEXT = "Nobody but the engine may see this sentence."
TOKENS = 5
# What it prints itself: before logging is configured, and from C++.
TORCH = re.compile(r"\[?W\d{4} \d\d:\d\d:\d\d\.\d+ ")
WAIT_S = 30


@dataclass
class Collector:
    """What speaks OTLP over HTTP on the loopback, and keeps the spans that it is sent."""

    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(httpx.codes.OK)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where spans are sent to."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def of_trace(self, trace: str) -> list[Span]:
        """Return the spans of one trace."""
        return [span for span in self.spans if span.trace_id.hex() == trace]


@dataclass
class Traced:
    """A server, what it sent to its collector, and what it was asked."""

    server: RunningServer
    collector: Collector
    body: bytes
    response: httpx.Response

    @property
    def answer(self) -> dict[str, Any]:
        """Return what the request was answered."""
        return dict(self.response.json())

    def lines(self) -> list[str]:
        """Return the log so far."""
        return self.server.log.read_text(encoding="utf-8").splitlines()

    def records(self) -> list[dict[str, Any]]:
        """Return the lines that are JSON."""
        return [json.loads(line) for line in self.lines() if line.startswith("{")]

    def access(self, request_id: str) -> dict[str, Any]:
        """Return the one line of a request."""
        records = [r for r in self.records() if r.get("event") == "request"]
        [record] = [r for r in records if r["request_id"] == request_id]
        return record


@pytest.fixture(scope="module")
def traced(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """One server for this file, after one request of a trace."""
    folder, collector = tmp_path_factory.mktemp("traced"), Collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRAGOMAN_LOG", "json")
        patch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        patch.setenv("NO_PROXY", "127.0.0.1")
        told = ("--", "--enforce-eager", "--otlp-traces-endpoint", collector.endpoint)
        server = start_server(folder / "registry", folder / "log", *told, base=str(tiny_base))
    try:
        asked = {"model": tiny_base.name, "prompt": TEXT, "max_tokens": TOKENS, "ignore_eos": True}
        body = json.dumps(asked).encode()
        headers = {
            "Content-Type": "application/json",
            "traceparent": f"00-{TRACE}-{PARENT}-01",
            "X-Request-Id": "asked-1",
        }
        url = f"{server.url}/v1/completions?api_key=in-the-query"
        answer = httpx.post(url, content=body, headers=headers, timeout=60)
        answer.raise_for_status()
        yield Traced(server, collector, body, answer)
    finally:
        code = server.stop()
        collector.server.shutdown()
    assert code == 0, server.log.read_text(errors="replace")[-4000:]


def attributes(span: Span) -> dict[str, Any]:
    """Return a span's attributes as Python has them."""
    kinds = {a.key: a.value.WhichOneof("value") for a in span.attributes}
    return {a.key: getattr(a.value, kinds[a.key]) for a in span.attributes}


def test_a_request_s_span_reaches_the_collector_as_a_part_of_the_client_s_trace(
    traced: Traced,
) -> None:
    deadline = time.monotonic() + WAIT_S
    while not traced.collector.of_trace(TRACE) and time.monotonic() < deadline:
        time.sleep(0.1)
    [span] = traced.collector.of_trace(TRACE)
    assert span.name == "llm_request"
    assert span.parent_span_id.hex() == PARENT
    said = attributes(span)
    used = traced.answer["usage"]
    assert said["gen_ai.usage.prompt_tokens"] == used["prompt_tokens"] == len(TEXT)
    assert said["gen_ai.usage.completion_tokens"] == used["completion_tokens"] == TOKENS
    assert said["gen_ai.latency.time_to_first_token"] > 0
    assert "asked-1-" in said["gen_ai.request.id"]


def test_no_span_holds_any_text(traced: Traced) -> None:
    assert traced.collector.spans
    assert TEXT[:20] not in str(traced.collector.spans)


def test_the_request_s_line_in_the_log_has_the_ids_of_its_trace_and_its_answer(
    traced: Traced,
) -> None:
    record = traced.access("asked-1")
    assert traced.response.headers["X-Request-Id"] == "asked-1"
    assert traced.answer["id"].startswith("cmpl-asked-1-")
    assert record["trace_id"] == TRACE
    assert record["route"] == "/v1/completions"
    assert record["adapter"] == "base"
    assert (record["status"], record["outcome"], record["error"]) == (200, "ok", None)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (len(TEXT), TOKENS)
    assert record["characters"] == len(TEXT)
    assert 0 < record["first_token_ms"] <= record["ms"]
    assert record["bytes_in"] == len(traced.body)


def test_two_requests_of_one_id_are_two_to_the_engine(traced: Traced) -> None:
    asked = {"model": traced.answer["model"], "prompt": "hello", "max_tokens": 1}
    url, headers = f"{traced.server.url}/v1/completions", {"X-Request-Id": "again"}
    ids = {httpx.post(url, json=asked, headers=headers, timeout=60).json()["id"] for _ in "12"}
    assert len(ids) == 2


def test_every_process_logs_json_and_nothing_else_but_torch_says_anything(traced: Traced) -> None:
    others = [line for line in traced.lines() if not line.startswith("{")]
    assert [line for line in others if not TORCH.match(line)] == []
    records = traced.records()
    assert {"Supervisor", "APIServer", "EngineCore"} <= {record["process"] for record in records}
    assert {"vllm", "uvicorn", "dragoman"} <= {r["logger"].partition(".")[0] for r in records}
    assert all({"ts", "level", "logger", "process", "pid", "message"} <= r.keys() for r in records)


@pytest.mark.parametrize("body", [
    json.dumps({"model": "none", "prompt": TEXT}), json.dumps({"prompt": [TEXT, 7]}),
    json.dumps({"model": "none", "messages": TEXT, "max_tokens": TEXT}), f"{TEXT} is no JSON",
    json.dumps({"prompt": TEXT, "stop": 7, TEXT: TEXT}),
    json.dumps({"model": TEXT, "prompt": TEXT}),
    json.dumps({"messages": [{"role": "system", "content": [{"type": TEXT, "text": TEXT}]}]}),
])  # fmt: skip
@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_neither_text_nor_query_string_is_in_the_log_whatever_went_wrong(
    route: str, body: str, traced: Traced
) -> None:
    url = f"{traced.server.url}/v1/{route}?api_key=in-the-query"
    headers = {"Content-Type": "application/json"}
    assert httpx.post(url, content=body, headers=headers).is_client_error
    log = traced.server.log.read_text(encoding="utf-8")
    assert "/v1/completions" in log
    assert TEXT[:20] not in log
    assert "in-the-query" not in log


def test_the_documented_lines_are_those_that_this_server_was_started_with() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf" in page
    assert "--otlp-traces-endpoint http" in page
