"""What clients ask for in vain costs the server nothing that stays."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.integration.harness import RunningServer

pytestmark = pytest.mark.engine

NAMES = [
    name
    for i in range(500)
    for name in (f"nope{i}-en-fr", f"alpha-en-fr@{i + 100}", f"alpha-en-fr@c{i}", f"gpt-{i}")
]


def ask(client: httpx.Client, name: str) -> tuple[float, httpx.Response]:
    body = {"model": name, "messages": [{"role": "user", "content": "Help"}]}
    started = time.perf_counter()
    response = client.post("/v1/chat/completions", json=body)
    return time.perf_counter() - started, response


def resident_mb(root: int) -> float:
    """Return the memory of a process and all its children, in MB."""
    total = 0.0
    for line in Path(f"/proc/{root}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            total += int(line.split()[1]) / 1024
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    return total + sum(resident_mb(int(child)) for child in children)


def series(server: RunningServer) -> set[str]:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def test_thousands_of_unknown_names_leave_nothing_behind(server: RunningServer) -> None:
    assert server.ask("alpha-en-fr") == "alpha"
    assert len(set(NAMES)) == 2000
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for name in NAMES[:100]:
            ask(client, name)
        first = [ask(client, f"early-{name}")[0] for name in NAMES[:100]]
        before, memory_mb = series(server), resident_mb(server.process.pid)
        with ThreadPoolExecutor(8) as pool:
            answers = [response for _, response in pool.map(lambda n: ask(client, n), NAMES)]
        last = [ask(client, f"late-{name}")[0] for name in NAMES[:100]]
        assert {response.status_code for response in answers} == {404}
        assert {r.json()["error"]["code"] for r in answers} <= {"adapter_not_found", "invalid_id"}
        assert max(len(response.content) for response in answers) < 1000
        assert server.ask("alpha-en-fr") == "alpha"
        grown = series(server) - before
        assert not [name for name in grown if "nope" in name or "gpt-" in name or "@" in name]
        assert len(grown) < 20, sorted(grown)
        assert resident_mb(server.process.pid) - memory_mb < 24
        assert statistics.median(last) < 2 * statistics.median(first) + 0.005


def test_mixes_of_adapters_that_are_over_leave_no_series(server: RunningServer) -> None:
    def mixes() -> list[str]:
        return [name for name in series(server) if name.startswith("vllm:lora_requests_info")]

    for _ in range(2):
        for name in ("alpha-en-fr", "beta-en-fr"):
            assert server.ask(name)
    assert len(mixes()) <= 1


@pytest.mark.parametrize("name", ["x" * 200_000, "ü" * 50_000, "alpha-en-fr@" + "9" * 100_000,
                                  "alpha-en-fr@" + "a" * 100_000, "a\r\nX-Evil: 1"])  # fmt: skip
def test_a_name_of_any_length_is_answered_in_a_few_lines(server: RunningServer, name: str) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for path in ("/v1/chat/completions", "/v1/completions"):
            body = {"model": name, "messages": [{"role": "user", "content": "x"}], "prompt": "x"}
            response = client.post(path, json=body)
            assert response.status_code == 404
            assert len(response.content) < 1500
            assert sum(map(len, response.headers.values())) < 1000
            assert "x-evil" not in response.headers
        short = name.encode()[:2000].decode(errors="ignore")
        response = client.get(f"/v1/models/{quote(short, safe='')}")
        assert len(response.content) < 1500
        assert server.process.poll() is None
