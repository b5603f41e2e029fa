"""Many clients of one server at once, each a thread that keeps what it was answered."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx


class Client:
    """One request to /v1/completions, under way from the start."""

    def __init__(self, url: str, **body: Any) -> None:
        self.status = 0
        self.body: dict[str, Any] = {}
        self.events: list[str] = []
        self.failure = ""
        self._url = f"{url}/v1/completions"
        self._body = {"prompt": "Help", "ignore_eos": True, **body}
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            with httpx.stream("POST", self._url, json=self._body, timeout=120) as answer:
                self.status = answer.status_code
                if self._body.get("stream") and answer.is_success:
                    lines = (line for line in answer.iter_lines() if line)
                    self.events.extend(line.removeprefix("data: ") for line in lines)
                else:
                    self.body = json.loads(answer.read())
        except httpx.HTTPError as error:
            self.failure = repr(error)

    def wait(self, timeout_s: float = 120) -> None:
        """Wait for the answer's end; fails if it hangs or was cut."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "no end"
        assert not self.failure, self.failure

    def ending(self) -> str:
        """Return how a stream ended: its finish reason, or the code of its error."""
        assert self.events[-1] == "[DONE]", self.events[-1]
        last = json.loads(self.events[-2])
        return str(
            last["error"]["code"] if "error" in last else last["choices"][0]["finish_reason"]
        )


def wait_until(condition: Any, timeout_s: float = 30) -> float:
    """Return after how many seconds `condition()` held; fails when it never does."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "it did not come about"
        time.sleep(0.02)
    return time.monotonic() - started


def status(url: str) -> int:
    """Return the status of a GET, 0 where nobody answers."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code
    return 0


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the id and name of every process below `pid`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            if int(tail.split()[1]) == pid:
                child = int(stat.parent.name)
                yield child, head.partition("(")[2]
                yield from descendants(child)
