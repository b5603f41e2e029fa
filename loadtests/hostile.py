"""Clients that keep to no rule of HTTP, on bare sockets."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_TIMEOUT_S: Final = 20.0
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_GET: Final = b"GET /ready HTTP/1.1\r\nHost: x\r\n"
_POST: Final = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_CHUNKED: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_TLS_HELLO: Final = bytes.fromhex("16030100a5010000a10303") + bytes(range(160))

# What is no HTTP, or HTTP that contradicts itself: complete, so that each can be answered at once.
NONSENSE: Final[Mapping[str, bytes]] = {
    "nothing": b"\r\n\r\n\r\n\r\n",
    "no HTTP": b"hello there\r\n\r\n",
    "TLS": _TLS_HELLO,
    "zeros": b"\0" * 200,
    "HTTP/0.9": b"GET /ready\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/7.3": b"GET /ready HTTP/7.3\r\nHost: x\r\n\r\n",
    "version without number": b"GET /ready HTTP/x.y\r\nHost: x\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole URL": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a proxy's CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "unheard-of method": b"BREW /ready HTTP/1.1\r\nHost: x\r\n\r\n",
    "path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "query of bytes": b"GET /v1/models?\xff=\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "header without colon": _GET + b"oops\r\n\r\n",
    "header without name": _GET + b": oops\r\n\r\n",
    "header of bytes": _GET + b"X-Odd: \xff\xfe\x80\r\nAccept: \xff\r\n\r\n",
    "header with NUL": _GET + b"X-Odd: a\0b\r\n\r\n",
    "folded header": _GET + b"X-Odd: a\r\n b\r\n\r\n",
    "bare line feeds": b"GET /ready HTTP/1.1\nHost: x\n\n",
    "length of letters": _POST + b"Content-Length: ten\r\n\r\n{}",
    "negative length": _POST + b"Content-Length: -1\r\n\r\n{}",
    "endless length": _POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "length and chunks": _POST
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unheard-of coding": _POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "chunk of letters": _CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "negative chunk": _CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "endless chunk": _CHUNKED + b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
    "chunk of another size": _CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "chunk with odd extension": _CHUNKED + b"2;a=\0\r\n{}\r\n0\r\n\r\n",
    "websocket": _GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "websocket without key": _GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c": _GET + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """Where the server listens, by plain HTTP."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Target:
        """Return that of a server's URL."""
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or 80)

    def connect(self, *, buffer_bytes: int = 0) -> Line:
        """Return a connection; its receive buffer is that small, if given."""
        wire = socket.socket()
        wire.settimeout(_TIMEOUT_S)
        if buffer_bytes:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        wire.connect((self.host, self.port))
        return Line(wire)

    def told(self, sent: bytes) -> int:
        """Return the status that those bytes were answered with; 0 if the line was cut."""
        with self.connect() as line:
            line.send(sent)
            return line.status()


class Line:
    """One connection of ours."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self.heard = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def send(self, data: bytes) -> bool:
        """Send; return whether the server still takes it."""
        try:
            self.wire.sendall(data)
        except OSError:
            return False
        return True

    def drip(self, data: bytes, *, every_s: float, seconds: float) -> bool:
        """Send a byte at a time, for so long at most; return whether all was taken."""
        until = time.monotonic() + seconds
        for position in range(len(data)):
            if time.monotonic() > until or not self.send(data[position : position + 1]):
                return False
            time.sleep(every_s)
        return True

    def half_close(self) -> None:
        """Say that nothing more comes; what the server says can still be read."""
        self.wire.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Cut the connection with an RST."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.wire.close()

    def hear(self, until: bytes = b"", *, timeout_s: float = _TIMEOUT_S) -> bytes:
        """Return all that was heard once `until` was, at the end of the connection, or by then."""
        deadline = time.monotonic() + timeout_s
        try:
            while not (until and until in self.heard):
                self.wire.settimeout(max(0.001, deadline - time.monotonic()))
                part = self.wire.recv(65536)
                if not part:
                    break
                self.heard += part
        except OSError:
            pass
        return self.heard

    def status(self, *, timeout_s: float = _TIMEOUT_S) -> int:
        """Return the first status that was heard; 0 for a connection that was cut without one."""
        words = self.hear(b"\r\n", timeout_s=timeout_s).split(None, 2)
        return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0

    def is_cut(self, *, timeout_s: float = _TIMEOUT_S) -> bool:
        """Return whether the server ends the connection by then; what it still says is dropped."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            self.wire.settimeout(left_s)
            try:
                if not self.wire.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False


def post(path: str, body: Any, *, headers: bytes = b"", close: bool = True) -> bytes:
    """Return a whole request, with those header lines."""
    content = json.dumps(body).encode()
    return head(path, len(content), headers=headers, close=close) + content


def head(path: str, length: int, *, headers: bytes = b"", close: bool = True) -> bytes:
    """Return the head of a POST of so many bytes."""
    end = b"Connection: close\r\n" if close else b""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n"
    ).encode() + end + headers + b"\r\n"  # fmt: skip


def _large_heads() -> Iterator[tuple[str, bytes]]:
    yield "one header of 64 KiB", _GET + b"X-Large: " + b"x" * 65_536 + b"\r\n\r\n"
    yield "500 headers", _GET + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n"
    yield "a header's name", _GET + b"X" * 65_536 + b": y\r\n\r\n"
    yield "the path", b"GET /v1/models/" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "the query", b"GET /v1/models?" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "a key", _GET + b"Authorization: Bearer " + b"k" * 65_536 + b"\r\n\r\n"


# Whole heads that are larger than any client's, by what is large. uvicorn's parser itself refuses
# a path of 64 KiB.
LARGE_HEADS: Final[Mapping[str, bytes]] = dict(_large_heads())
