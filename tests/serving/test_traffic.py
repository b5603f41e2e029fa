from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.gate import Gate
from serving.metrics import Metrics
from serving.run_folder import RunFolder
from serving.traffic import Traffic
from tests.serving.door.rig import open_door

Answer = Callable[[Request], Awaitable[Response]]


class Rig:
    """A gate before one route; speaks ASGI, so that a client can hang up."""

    def __init__(self, answer: Answer, run_folder: RunFolder | None = None) -> None:
        self.registry = CollectorRegistry()
        self.traffic = Traffic(Metrics(self.registry), run_folder)
        self.app = Starlette(routes=[Route("/v1/completions", answer, methods=["POST"])])
        self.app.add_middleware(Gate)
        self.app.state.dragoman_traffic = self.traffic
        # Without keys the store of usage is never touched.
        self.app.state.dragoman_door, self.settings = open_door(Path("nowhere"))
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    async def ask(self) -> None:
        body = [{"type": "http.request", "body": b"{}", "more_body": False}]

        async def receive() -> Any:
            if body:
                return body.pop()
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/completions", "headers": [],
            "query_string": b"", "root_path": "",
        }  # fmt: skip
        await self.app(scope, receive, send)

    def status(self) -> int:
        return int(self.sent[0]["status"])

    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    def counted(self) -> dict[tuple[str, str, str], float]:
        return {
            (s.labels["adapter"], s.labels["version"], s.labels["status"]): s.value
            for family in self.registry.collect()
            for s in family.samples
            if s.name == "dragoman_http_requests_total" and s.labels["route"] == "/v1/completions"
        }


async def ok(request: Request) -> Response:
    request.state.dragoman_labels = ("ui-en-fr", "3")
    return PlainTextResponse("ok")


async def missing(_: Request) -> Response:
    return PlainTextResponse("no such model", status_code=404)


async def hangs(_: Request) -> Response:
    await asyncio.sleep(60)
    raise AssertionError("woke")


async def stuck_stream(_: Request) -> Response:
    async def lines() -> Any:
        yield "data: 1\n\n"
        await asyncio.sleep(60)

    return StreamingResponse(lines(), media_type="text/event-stream")


@pytest.mark.parametrize(("answer", "key"), [
    (ok, ("ui-en-fr", "3", "200")), (missing, ("", "", "404")),
])  # fmt: skip
def test_a_request_is_counted_once_by_what_answered_and_how(
    answer: Answer, key: tuple[str, str, str]
) -> None:
    rig = Rig(answer)
    asyncio.run(rig.ask())
    assert rig.counted() == {key: 1}
    assert len(rig.traffic) == 0


def test_an_application_that_fails_is_counted_as_what_the_client_is_told() -> None:
    async def fails(_: Request) -> Response:
        raise RuntimeError("boom")

    rig = Rig(fails)
    with pytest.raises(RuntimeError):
        asyncio.run(rig.ask())
    assert rig.status() == 500
    assert rig.counted() == {("", "", "500"): 1}


def test_a_client_that_hangs_up_before_its_answer_began_is_counted_apart() -> None:
    async def waits_for_the_client(request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0)
        return PlainTextResponse("too late")

    rig = Rig(waits_for_the_client)

    async def hang_up() -> None:
        asking = asyncio.create_task(rig.ask())
        await asyncio.sleep(0)
        rig.gone.set()
        await asking

    asyncio.run(hang_up())
    assert rig.counted() == {("", "", "499"): 1}


def test_while_draining_a_new_request_is_told_to_come_back_and_is_counted(tmp_path: Path) -> None:
    rig = Rig(ok, RunFolder(tmp_path))
    RunFolder(tmp_path).ask_to_drain()
    asyncio.run(rig.ask())
    assert rig.status() == 503
    assert rig.headers()[b"retry-after"]
    assert '"code":"draining"' in rig.body()
    assert rig.counted() == {("", "", "503"): 1}


def test_a_request_admitted_before_the_drain_ends_whole(tmp_path: Path) -> None:
    async def slow(_: Request) -> Response:
        RunFolder(tmp_path).ask_to_drain()
        await asyncio.sleep(0)
        return PlainTextResponse("whole")

    rig = Rig(slow, RunFolder(tmp_path))
    asyncio.run(rig.ask())
    assert (rig.status(), rig.body()) == (200, "whole")


async def fail_while_asking(rig: Rig) -> None:
    asking = asyncio.create_task(rig.ask())
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(rig.traffic) == 1
    rig.traffic.fail()
    await asking


def test_a_request_that_hangs_when_the_engine_dies_gets_a_status() -> None:
    rig = Rig(hangs)
    asyncio.run(fail_while_asking(rig))
    assert rig.status() == 503
    assert '"code":"engine_dead"' in rig.body()
    assert rig.counted() == {("", "", "503"): 1}


def test_a_stream_that_hangs_when_the_engine_dies_gets_an_event() -> None:
    rig = Rig(stuck_stream)
    asyncio.run(fail_while_asking(rig))
    assert rig.status() == 200
    assert '"code": "engine_dead"' in rig.body()
    assert rig.body().endswith("data: [DONE]\n\n")
    assert not rig.sent[-1].get("more_body")


def test_a_cancellation_that_is_not_ours_is_passed_on() -> None:
    rig = Rig(hangs)

    async def cancel() -> None:
        asking = asyncio.create_task(rig.ask())
        for _ in range(20):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(cancel())
    assert rig.sent == []


def test_a_run_has_drained_when_every_process_that_served_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.has_drained()
    folder.note_serving()
    (tmp_path / "1.serving").touch()
    folder.note_drained()
    assert not folder.has_drained()
    (tmp_path / "1.drained").touch()
    assert folder.has_drained()


def test_a_run_folder_is_new_and_goes() -> None:
    first, second = RunFolder.make(), RunFolder.make()
    assert first.folder != second.folder
    first.ask_to_drain()
    assert first.is_draining()
    assert not second.is_draining()
    for folder in (first, second):
        folder.remove()
        assert not folder.folder.exists()


def test_what_a_run_used_last_is_known_to_the_next() -> None:
    first = RunFolder.make()
    assert first.last_used() == b""
    first.last_used_file.write_bytes(b'["ui-en-fr@1"]')
    second = RunFolder.make(first.last_used())
    assert second.last_used() == b'["ui-en-fr@1"]'
    for run_folder in (first, second):
        run_folder.remove()
    assert second.last_used() == b""


def with_deadline(answer: Answer, seconds: float) -> Rig:
    rig = Rig(answer)
    limits = rig.settings.now.limits.model_copy(update={"deadline_s": seconds})
    rig.settings.now = rig.settings.now.model_copy(update={"limits": limits})
    return rig


def test_an_answer_that_takes_too_long_is_given_up_with_a_status() -> None:
    rig = with_deadline(hangs, 0.02)
    asyncio.run(rig.ask())
    assert rig.status() == 504
    assert '"code":"deadline_exceeded"' in rig.body()
    assert rig.counted() == {("", "", "504"): 1}


def test_a_stream_that_takes_too_long_ends_with_an_event() -> None:
    rig = with_deadline(stuck_stream, 0.05)
    asyncio.run(rig.ask())
    assert rig.status() == 200
    assert rig.body().startswith("data: 1\n\n")
    assert '"code": "deadline_exceeded"' in rig.body()
    assert rig.body().endswith("data: [DONE]\n\n")


def test_an_answer_in_time_meets_no_deadline_later() -> None:
    rig = with_deadline(ok, 0.02)

    async def ask_and_wait() -> None:
        await rig.ask()
        await asyncio.sleep(0.05)

    asyncio.run(ask_and_wait())
    assert rig.status() == 200
