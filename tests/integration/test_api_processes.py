"""Two API processes on one engine: plugins in force in each, sums on /metrics, whole drains."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.harness import RunningServer, start_server
from tests.integration.streams import Client, descendants, wait_until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def several(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of two API processes."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "registry").mkdir()
    flags = ("--max-model-len", "2048", "--", "--api-server-count", "2", "--enforce-eager")
    server = start_server(folder / "registry", folder / "log", *flags, base=str(tiny_base))
    try:
        # One was ready; the other comes a moment later.
        log = server.log
        wait_until(lambda: log.read_text(errors="replace").count("startup complete") == 2)
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def counting_processes(server: RunningServer) -> int:
    """Return how many processes of the server have counted requests at their edge."""
    found: set[Path] = set()
    for pid, _ in descendants(server.process.pid):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        for variable in variables:
            name, _, folder = variable.partition(b"=")
            if name == b"PROMETHEUS_MULTIPROC_DIR":
                found |= {*Path(folder.decode()).glob("counter_*.db")}
    return sum(b"dragoman_http_requests" in file.read_bytes() for file in found)


def test_counts_of_both_processes_add_up_to_what_the_clients_sent(several: RunningServer) -> None:
    base = several.client.models.list().data[0].id
    clients = [Client(several.url, model=base, max_tokens=4) for _ in range(30)]
    clients += [Client(several.url, model=base, max_tokens=-1) for _ in range(6)]
    clients += [Client(several.url, model="nowhere-en-fr", max_tokens=4) for _ in range(4)]
    for client in clients:
        client.wait()
    sent = Counter(str(client.status) for client in clients)
    assert sent == {"200": 30, "400": 6, "404": 4}
    found = {code: several.metric("dragoman_http_requests_total", status=code) for code in sent}
    assert found == sent
    assert several.metric("dragoman_requests_total", adapter="base", outcome="length") == 30
    assert several.metric("dragoman_completion_tokens_total", adapter="base") == 120
    assert counting_processes(several) == 2, "one process answered everything"
    wait_until(lambda: several.metric("dragoman_saturation") == 0)


def test_each_process_is_ready_on_its_own_word(several: RunningServer) -> None:
    for _ in range(6):
        answer = httpx.get(f"{several.url}/ready")
        assert answer.status_code == 200
        assert {*answer.json()["plugins"]} >= {"api", "engine_guard", "stats"}


def test_a_drain_lets_streams_of_both_processes_end_whole(several: RunningServer) -> None:
    base = several.client.models.list().data[0].id
    streams = [Client(several.url, model=base, max_tokens=800, stream=True) for _ in range(8)]
    wait_until(lambda: all(stream.events for stream in streams))
    several.process.send_signal(signal.SIGTERM)

    def ask() -> httpx.Response:
        body = {"model": base, "prompt": "x", "max_tokens": 1}
        return httpx.post(f"{several.url}/v1/completions", json=body)

    # What comes after the first refusal is refused as well, whichever process takes it.
    wait_until(lambda: ask().status_code != httpx.codes.OK)
    refused = [ask() for _ in range(6)]
    assert [answer.json()["error"]["code"] for answer in refused] == ["draining"] * 6
    assert all(answer.status_code == 503 for answer in refused)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert httpx.get(f"{several.url}/ready").status_code == 503
    for stream in streams:
        stream.wait()
    assert {stream.ending() for stream in streams} == {"length"}
    assert several.process.wait(30) == 0
    assert not [*descendants(several.process.pid)]
