"""`dragoman eval` of an adapter that a server of ours has: the server knows its contract."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from typer.testing import CliRunner

import dragoman
from tests.training.synthesis.served import completion, text_of

SOURCES = ["open the file", "close the file"]


class _Ours(BaseHTTPRequestHandler):
    """A server of ours, as far as an evaluation sees it: it has the contract."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        assert self.path == "/v1/models/ui-en-fr@2"
        self._send({"id": "ui-en-fr@2", "dragoman": {"pairs": ["en-fr"], "version": 2}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        _, _, answer = completion(text_of(body).upper())
        self._send(json.loads(answer))

    def _send(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def test_an_adapter_on_our_server_is_asked_by_its_contract(tmp_path: Path) -> None:
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{text}\t{text.upper()}\n" for text in SOURCES))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ours) as ours:
        ours.daemon_threads, ours.block_on_close = True, False
        threading.Thread(target=ours.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{ours.server_port}"
        asked = ("--url", url, "--served", "ui-en-fr@2", "--data", str(data), "--json")
        body = json.loads(CliRunner().invoke(dragoman.build_app(), ["eval", *asked]).stdout)
        ours.shutdown()
    assert body["pair"] == "en-fr"
    sent = _Ours.bodies[0]
    assert sent["messages"] == [{"role": "user", "content": sent["messages"][0]["content"]}]
    assert sent["messages"][0]["content"] in SOURCES
    assert not {"max_tokens", "temperature"} & sent.keys()
    assert body["scoreboard"]["systems"][0]["notes"]["version"] == "2"
