"""Clients that keep to no rule, on bare sockets: nobody else notices, and nothing of them is left.

A server of a tiny model, so that it starts fast, with a key and short limits.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loadtests import bad_inputs
from loadtests.hostile import LARGE_HEADS, NONSENSE, Line, Target, head, post
from serving.door.key import hash_of
from tests.integration.harness import RunningServer, start_server
from tests.integration.streams import descendants, wait_until

pytestmark = pytest.mark.engine

PATH = "/v1/completions"
KEY = b"Authorization: Bearer secret-all\r\n"
BODY_S = 2.0
# A request that were not seen out would soon leave no room for another of the key.
AT_ONCE = 48
LIMITS = {"body_s": BODY_S, "body_bytes": 65_536, "deadline_s": 30}
READY = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
FREED_WITHIN_S = 1.0
# Above what it held before, once all clients are gone.
MORE_FDS, MORE_THREADS, MORE_RSS_MIB = 4, 4, 48
# Above what the same has cost before.
AGAIN_RSS_MIB = 24


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    fds: int
    threads: int
    rss_mib: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        status = Path(f"/proc/{pid}/status").read_text()
        threads, rss_kib = (
            int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
            for name in ("Threads", "VmRSS")
        )
        return cls(len(list(Path(f"/proc/{pid}/fd").iterdir())), threads, rss_kib // 1024)


@dataclass
class Attacked:
    """The server, and what its API process held before anything was tried."""

    server: RunningServer
    model: str

    @cached_property
    def pid(self) -> int:
        """The API process: the only child of the supervisor's own."""
        return next(descendants(self.server.process.pid))[0]

    @cached_property
    def before(self) -> Footprint:
        return self.now()

    # What is freed stays with the allocator: the most that one test is known to need at a time.
    known_peak_mib: int = 0

    @cached_property
    def target(self) -> Target:
        return Target.of(self.server.url)

    @cached_property
    def watching(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, timeout=20)

    def now(self) -> Footprint:
        return Footprint.of(self.pid)

    def figure(self, name: str, *having: str) -> float:
        """Return the sum of one metric's samples; cheaper than parsing all of them."""
        text = self.watching.get("/metrics").text
        lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
        assert lines, name
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if all(h in line for h in having)
        )

    def running(self) -> float:
        return self.figure("vllm:num_requests_running")

    def aborted(self) -> float:
        return self.figure("dragoman_requests_total", 'outcome="aborted"')

    def request(self, **more: Any) -> bytes:
        body = {"model": self.model, "prompt": "Help", "ignore_eos": True, **more}
        return post(PATH, body, headers=KEY)

    def stream(self, **more: Any) -> bytes:
        return self.request(stream=True, **{"max_tokens": 2000, **more})

    def answers(self) -> bool:
        return b'"finish_reason":"length"' in self.heard(self.request(max_tokens=2))

    def heard(self, sent: bytes) -> bytes:
        with self.target.connect() as line:
            line.send(sent)
            return line.hear()


@pytest.fixture(scope="module")
def attacked(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    config, log = folder / "serving.yaml", folder / "server.log"
    key = {"name": "all", "hash": hash_of("secret-all"), "concurrency": AT_ONCE}
    usage = str(folder / "usage.sqlite")
    settings = {"keys": [key], "limits": LIMITS, "metrics_open": True, "usage": usage}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    flags = ("--config", str(config), "--", "--enforce-eager", "--max-num-seqs", "16")
    server = start_server(folder / "registry", log, *flags, base=str(tiny_base))
    found = Attacked(server, tiny_base.name)
    try:
        with ThreadPoolExecutor(AT_ONCE // 2) as threads:
            # Threads and caches that a server in use has anyway.
            assert all(threads.map(lambda _: found.answers(), range(AT_ONCE)))
        wait_until(lambda: found.running() == 0)
        print(f"\nbefore: {found.before}")
        yield found
    finally:
        found.watching.close()
        code = server.stop()
    assert code == 0, log.read_text(errors="replace")[-4000:]


@pytest.fixture(autouse=True)
def nothing_is_left(attacked: Attacked) -> Iterator[None]:
    """After each test: no fault, no slot, no work, no connection, no thread, no memory."""
    yield
    assert httpx.get(f"{attacked.server.url}/ready").status_code == 200
    wait_until(lambda: attacked.running() == 0, FREED_WITHIN_S)
    wait_until(lambda: attacked.figure("dragoman_backlog_seconds") == 0, FREED_WITHIN_S)
    assert attacked.figure("dragoman_http_requests_total", 'status="5') == 0
    assert attacked.answers()
    before = attacked.before
    wait_until(lambda: attacked.now().fds <= before.fds + MORE_FDS, 2 * BODY_S)
    now = attacked.now()
    print(f"\nafter: {now}")
    assert now.threads <= before.threads + MORE_THREADS, (before, now)
    most_mib = max(before.rss_mib, attacked.known_peak_mib) + MORE_RSS_MIB
    assert now.rss_mib <= most_mib, (before, now)
    log = attacked.server.log.read_text(errors="replace")
    for said in ("Exception in ASGI application", "never retrieved", "Traceback"):
        assert said not in log, log[log.index(said) - 500 :][:3000]


def test_nonsense_is_answered_4xx_or_cut(attacked: Attacked) -> None:
    answers = {name: attacked.target.told(sent) for name, sent in NONSENSE.items()}
    assert set(answers.values()) <= {0, 101, 200, 400, 401, 403, 404, 405, 408}, answers
    assert answers["two lengths"] == answers["length and chunks"] == answers["TLS"] == 400


def test_large_heads_are_refused(attacked: Attacked) -> None:
    assert {attacked.target.told(sent) for sent in LARGE_HEADS.values()} == {431}
    with attacked.target.connect() as line:
        line.send(READY[:-2] + b"X-Endless: ")
        sent = 0
        while sent < 2**24 and line.send(b"x" * 8192):
            sent += 8192
    assert sent < 2**24


def test_a_thousand_idle_connections_keep_nobody_out(attacked: Attacked) -> None:
    with ExitStack() as held:
        lines = [held.enter_context(attacked.target.connect()) for _ in range(1000)]
        for number, line in enumerate(lines):
            # A third says nothing, a third a part of a head, a third a head and a part of a body.
            line.send((b"", READY[:9], head(PATH, 100, headers=KEY) + b"{")[number % 3])
        wait_until(lambda: attacked.now().fds > attacked.before.fds + 900, BODY_S)
        began = time.monotonic()
        assert attacked.answers()
        assert time.monotonic() - began < 1
        wait_until(lambda: attacked.now().fds <= attacked.before.fds + MORE_FDS, 3 * BODY_S)
        told = Counter(line.status(timeout_s=1) for line in lines)
    assert set(told) == {0, 408}, told
    assert told[408] > 600


def test_bodies_that_drip_are_told_so(attacked: Attacked) -> None:
    def drip(_: int) -> tuple[int, float, bytes]:
        began = time.monotonic()
        with attacked.target.connect() as line:
            line.send(head(PATH, 60, headers=KEY))
            line.drip(b"{" * 60, every_s=1, seconds=BODY_S + 1)
            return line.status(), time.monotonic() - began, line.hear(timeout_s=1)

    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(drip, range(20)))
    assert {status for status, _, _ in found} == {408}
    assert all(b"body_too_slow" in said for _, _, said in found)
    assert max(seconds for _, seconds, _ in found) < BODY_S + 2


def test_bodies_that_are_cut_or_too_large_start_nothing(attacked: Attacked) -> None:
    arrivals = attacked.figure("dragoman_requests_total")
    whole = attacked.request(max_tokens=2)
    for end in (Line.half_close, Line.reset, lambda line: line.wire.close()):
        for cut in (len(whole) - 1, len(whole) - 40):
            with attacked.target.connect() as line:
                line.send(whole[:cut])
                end(line)
    for sent in (head(PATH, 10**12, headers=KEY), head(PATH, 65_537, headers=KEY) + b"x" * 65_537):
        assert attacked.target.told(sent) == 413
    chunked = head(PATH, 0, headers=KEY).replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    assert attacked.target.told(chunked + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 17) == 413
    assert attacked.figure("dragoman_requests_total") == arrivals


def test_who_does_not_read_is_cut_off_and_its_answers_are_forgotten(attacked: Attacked) -> None:
    held_mib = [left_unread(attacked) for _ in range(2)]
    attacked.known_peak_mib = held_mib[0]
    print(f"\nheld after each: {held_mib} MiB")
    assert held_mib[1] <= held_mib[0] + AGAIN_RSS_MIB


def left_unread(attacked: Attacked) -> int:
    """Return what the API process holds once a client that read nothing was cut off."""
    aborted = attacked.aborted()
    with attacked.target.connect(buffer_bytes=2048) as line:
        # More than sockets buffer: 2.6 MB on the loopback.
        line.send(attacked.stream(n=8, logprobs=20, temperature=1.0))
        wait_until(lambda: attacked.running() > 0)
        took_s = wait_until(lambda: attacked.aborted() == aborted + 1, 28)
        wait_until(lambda: attacked.running() == 0, FREED_WITHIN_S)
    print(f"\ncut off after {took_s:.1f} s")
    return attacked.now().rss_mib


def pipelined(line: Line) -> None:
    line.send(READY * 20)
    line.wire.close()


HANG_UPS: dict[str, Callable[[Line], None]] = {
    "close": lambda line: line.wire.close(),
    "reset": Line.reset,
    # Whether anything can still be read there, a server cannot tell: it is a hang-up, too.
    "half-close": Line.half_close,
    "requests behind it": pipelined,
}


def test_a_hang_up_frees_its_slot_within_a_second(attacked: Attacked) -> None:
    aborted = attacked.aborted()
    seconds: dict[str, list[float]] = {}
    for name, hang_up in HANG_UPS.items():
        # While others wait behind a request uvicorn reads no further, and sees the connection's end
        # only where it writes: such a request without a stream runs to its end.
        for streamed in (True, True, True, name == "requests behind it"):
            wait_until(lambda: attacked.running() == 0)
            with attacked.target.connect() as line:
                line.send(attacked.request(stream=streamed, max_tokens=2000).replace(
                    b"Connection: close\r\n", b""))  # fmt: skip
                if streamed:
                    assert b"data:" in line.hear(b"data:")
                wait_until(lambda: attacked.running() == 1)
                hang_up(line)
                freed_s = wait_until(lambda: attacked.running() == 0, 20)
                seconds.setdefault(name, []).append(freed_s)
    worst = {name: round(max(each), 3) for name, each in seconds.items()}
    every = [each for of in seconds.values() for each in of]
    print(f"\n{len(every)} hang-ups: median {statistics.median(every):.3f} s, worst {worst}")
    assert max(every) < FREED_WITHIN_S, seconds
    assert attacked.aborted() == aborted + len(every), "some ended by themselves"


def test_a_storm_of_hang_ups_leaves_nothing(attacked: Attacked) -> None:
    def come_and_go(number: int) -> None:
        with attacked.target.connect() as line:
            line.send(attacked.stream(max_tokens=300))
            line.hear(timeout_s=0.004 * (number % 50))
            list(HANG_UPS.values())[number % len(HANG_UPS)](line)

    with ThreadPoolExecutor(AT_ONCE // 2) as threads:
        list(threads.map(come_and_go, range(300)))


def test_requests_in_one_go_are_answered_in_order(attacked: Attacked) -> None:
    asked = attacked.request(max_tokens=1).replace(b"Connection: close\r\n", b"")
    heard = attacked.heard((READY + asked) * 10 + attacked.request(max_tokens=3))
    assert heard.count(b"HTTP/1.1 200") == 21
    lengths = re.findall(rb'"completion_tokens":(\d+)', heard)
    assert lengths == [b"1"] * 10 + [b"3"]


def test_broken_bodies_behind_a_key_are_never_the_servers_fault(attacked: Attacked) -> None:
    url, key = attacked.server.url, {"Authorization": "Bearer secret-all"}
    found = asyncio.run(bad_inputs.tried(url, (attacked.model,), 300, seed=1, headers=key))
    print(f"\n{found.statuses}")
    assert found.statuses.total() == 300
    assert all(status[0] in "24" for status in found.statuses), found
    assert found.statuses["401"] > 0
    assert found.statuses["200"] > 0
    for shown in ({}, {"Authorization": "Bearer none"}):
        found = asyncio.run(bad_inputs.tried(url, (attacked.model,), 60, seed=2, headers=shown))
        assert {status for status in found.statuses if status[0] != "4"} <= {"200"}, found
        assert found.statuses["401"] > 40
