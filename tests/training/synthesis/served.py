"""A small real server in the manner of OpenAI's, that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


def completion(
    text: str | None,
    *,
    finish: str = "stop",
    logprobs: list[float] | None = None,
    tokens: tuple[int, int] = (10, 5),
) -> Reply:
    told = {"content": [{"token": "a", "logprob": value} for value in logprobs or ()]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": told if logprobs is not None else None,
    }
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


def upper(body: dict[str, Any]) -> Reply:
    """Answer with the text in capitals, which is what stands for a translation here."""
    return completion(text_of(body).upper(), logprobs=[-0.5, -1.5])


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"]).rsplit("\n\n", 1)[-1]


@dataclass
class Served:
    """`reply` says what is answered to a body; `asked` has all bodies, `most` how many at once."""

    url: str = ""
    reply: Callable[[dict[str, Any]], Reply] = upper
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def texts(self) -> list[str]:
        return [text_of(body) for body in self.asked]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever asked has gone, as some tests want."""


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer takes 40 ms

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with served.lock:
                served.asked.append(body)
                served.headers.append({name.lower(): value for name, value in self.headers.items()})
                served.now += 1
                served.most = max(served.most, served.now)
                status, headers, answer = served.reply(body)
            time.sleep(served.delay_s)
            with served.lock:
                served.now -= 1
            try:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}"
        yield served
        server.shutdown()
