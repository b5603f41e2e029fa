"""An HTTP server of known behaviour: one token each `pace_s`, adapters that are slow to load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class TinyServer:
    """Answers /v1/completions; a cold adapter stops every stream for `load_s`."""

    pace_s: float = 0.002
    load_s: float = 0.0
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    stopped_until: float = 0.0

    def events(self, body: dict[str, Any]) -> Iterator[object]:
        """Yield the events of one answer, each in its time."""
        self.asked.append(body["model"])
        if body["model"] not in self.loaded:
            self.loaded.add(body["model"])
            self.stopped_until = time.monotonic() + self.load_s
        for token in range(body["max_tokens"]):
            time.sleep(max(self.pace_s, self.stopped_until - time.monotonic()))
            yield {"choices": [{"token_ids": [token]}]}
            if self.broken:
                yield {"error": {"message": "the engine has died"}}


@contextmanager
def serving(server: TinyServer) -> Iterator[str]:
    """Yield the server's address while it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in server.events(body):
                self._chunk(f"data: {json.dumps(event)}\n\n".encode())
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def handle(self) -> None:
            with suppress(ConnectionError, ValueError):  # who asked may have gone, in mid-question
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024
        daemon_threads = False  # so that leaving waits for every connection to end

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()
