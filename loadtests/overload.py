"""Twice what a server can do: what it lets in, how fast it says no, and if Retry-After is right.

python -m loadtests.overload                    three minutes; .bench/overload.json, a table
python -m loadtests.overload --seconds 30 --times 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from adapters.console import note, print_table
from loadtests import servers
from loadtests.distribution import summary_ms
from loadtests.prompts import random_prompt_ids

OUT: Final = Path(".bench")
BASE: Final = "gemma3-270m"
_SEATS: Final = 32
_STREAMS: Final = 2 * _SEATS
_TOKENS: Final = (8, 24)
_PROMPT_TOKENS: Final = 24
_CAPACITY_S: Final = 30.0
# Of those who are sent away, so many come back as they were told; the others are gone.
_OBEDIENT: Final = 0.5
_SHED: Final = (429, 503)
_KEEP_ALIVE_S: Final = 5.0
_OK: Final = 200


@dataclass
class Asked:
    """One user: each try with its status and seconds, and what it was told first."""

    sent_s: float
    tries: list[tuple[int, float]] = field(default_factory=list)
    told_s: float | None = None
    told_at: float = 0.0
    let_in_at: float | None = None

    @property
    def ratio(self) -> float | None:
        """Time until it was let in over what it was told first; None if it never was told."""
        if self.told_s is None or self.let_in_at is None:
            return None
        return (self.let_in_at - self.told_at) / self.told_s


class Lines:
    """Kept connections to one server, as many as are needed.

    Bare HTTP/1.1: on two cores a client library takes from the engine as much as a refusal costs.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        """Return status and headers of a JSON request; its answer has a content-length."""
        reader, writer = await self._line()
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {}
        for text in filter(None, rest):
            name, _, value = text.partition(":")
            headers[name.strip().lower()] = value.strip()
        await reader.readexactly(int(headers["content-length"]))
        self._idle.append((time.monotonic(), reader, writer))
        return int(first.split()[1]), headers

    async def _line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < _KEEP_ALIVE_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Close all."""
        for _, _, writer in self._idle:
            writer.close()


class Crowd:
    """Users of one server, each with a text of its own."""

    def __init__(self, lines: Lines, *, seed: int) -> None:
        self._lines = lines
        self._chance = random.Random(seed)
        self.asked: list[Asked] = []
        self.tokens: list[float] = []  # when each answer was whole

    async def capacity(self, seconds: float) -> float:
        """Return the requests a second of streams that are always enough to fill the engine."""
        until = time.monotonic() + seconds

        async def stream(number: int) -> None:
            # Not all in step, as users are not: a wave of prompts is cheaper than one by one.
            await asyncio.sleep(number / _STREAMS)
            while time.monotonic() < until:
                await self._try(Asked(time.monotonic()), self._body())

        await asyncio.gather(*(stream(number) for number in range(_STREAMS)))
        # The first third is for warming up.
        began = until - seconds * 2 / 3
        return sum(began <= at < until for at in self.tokens) / (seconds * 2 / 3)

    async def overload(self, per_s: float, seconds: float) -> float:
        """Send `per_s` users a second; return the answers a second."""
        began = time.monotonic()
        tasks = []
        at = began
        while (at := at + self._chance.expovariate(per_s)) < began + seconds:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            obeys = self._chance.random() < _OBEDIENT
            tasks.append(asyncio.create_task(self._user(began + seconds, obeys=obeys)))
        await asyncio.gather(*tasks)
        done = sum(began <= at < began + seconds for at in self.tokens)
        return done / seconds

    async def _user(self, until: float, *, obeys: bool) -> None:
        asked, body = Asked(time.monotonic()), self._body()
        self.asked.append(asked)
        while True:
            wait_s = await self._try(asked, body)
            if wait_s is None or not obeys or time.monotonic() + wait_s > until:
                return
            await asyncio.sleep(wait_s)

    def _body(self) -> bytes:
        prompt = random_prompt_ids(self._chance.randrange(10**9), _PROMPT_TOKENS)
        return json.dumps({
            "model": BASE, "prompt": prompt, "max_tokens": self._chance.randint(*_TOKENS),
            "ignore_eos": True, "temperature": 0,
        }).encode()  # fmt: skip

    async def _try(self, asked: Asked, body: bytes) -> float | None:
        """Ask once; return after how long to come back, None if there is nothing to wait for."""
        began = time.monotonic()
        status, headers = await self._lines.post("/v1/completions", body)
        ended = time.monotonic()
        asked.tries.append((status, ended - began))
        if status == _OK:
            self.tokens.append(ended)
            asked.let_in_at = began
        if status not in _SHED:
            return None
        wait_s = float(headers["retry-after-ms"]) / 1000
        if asked.told_s is None:
            asked.told_s, asked.told_at = wait_s, ended
        return wait_s


async def measure(url: str, *, times: float, seconds: float, backlog_s: float) -> dict[str, Any]:
    """Return the figures of one server. Raises OSError."""
    lines = Lines(url)
    capacity = await Crowd(lines, seed=1).capacity(_CAPACITY_S)
    note(f"capacity: {capacity:.1f} requests a second; now {times:g} times that")
    crowd = Crowd(lines, seed=2)
    goodput = await crowd.overload(times * capacity, seconds)
    lines.close()
    return figures(crowd.asked, capacity=capacity, goodput=goodput, backlog_s=backlog_s)


def figures(
    asked: Sequence[Asked], *, capacity: float, goodput: float, backlog_s: float
) -> dict[str, Any]:
    """Return what became of all who asked."""
    tries = [one for user in asked for one in user.tries]
    let_in = [seconds for status, seconds in tries if status == _OK]
    shed = [seconds for status, seconds in tries if status in _SHED]
    ratios = [user.ratio for user in asked if user.ratio is not None]
    return {
        "capacity_per_s": round(capacity, 2),
        "goodput_share": round(goodput / capacity, 3),
        "users": len(asked),
        "tries": len(tries),
        "other_statuses": sorted({s for s, _ in tries if s != _OK and s not in _SHED}),
        "backlog_s": backlog_s,
        "let_in_ms": summary_ms(let_in, 50, 95, 99),
        "shed_ms": summary_ms(shed, 50, 95, 99, 100),
        "came_back": len(ratios),
        "told_s": summary_ms([u.told_s for u in asked if u.told_s is not None], 50, 95),
        "retry_after_ratio": {
            str(p): round(sorted(ratios)[min(len(ratios) - 1, int(p / 100 * len(ratios)))], 2)
            for p in (10, 50, 90)
        }
        if ratios
        else {},
        "retry_after_within_2x": round(
            sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios), 3
        )
        if ratios
        else None,
    }  # fmt: skip


def print_figures(found: dict[str, Any]) -> None:
    """Print them as a table."""
    rows = [(name, json.dumps(value)) for name, value in found.items()]
    print_table(("figure", "value"), rows, title="Overload")


def main() -> int:
    """Measure a server of ours; return the exit code."""
    arguments = _arguments()
    servers.stop_on_signals()
    os.environ["DRAGOMAN_LIMITS"] = json.dumps({"backlog_s": arguments.backlog_s})
    OUT.mkdir(exist_ok=True)
    flags = ("--max-loras", "2", "--", "--max-num-seqs", str(_SEATS))
    launch = servers.dragoman(BASE, OUT / "registry-of-none", flags)
    (OUT / "registry-of-none").mkdir(exist_ok=True)
    with servers.running(launch, OUT / "overload.log") as server:
        found = asyncio.run(
            measure(
                server.url,
                times=arguments.times,
                seconds=arguments.seconds,
                backlog_s=arguments.backlog_s,
            )
        )
    (OUT / "overload.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_figures(found)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--times", type=float, default=2.0, help="of the capacity")
    parser.add_argument("--backlog-s", type=float, default=5.0, help="limits.backlog_s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
