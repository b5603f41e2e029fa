"""The connection below HTTP: bounds that uvicorn does not have, on what a client may hold.

uvicorn 0.54 on httptools, which vLLM 0.32 starts, takes a head of any size at any pace (vLLM's
`--h11-max-…` flags are for its other parser), takes trailers for headers, waits for ever for one
who does not read, and tells only the last of several pipelined requests that their client hung up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# A browser's cookies of a sign-on in front of us fit; nginx takes as much.
HEAD_BYTES: Final = 32_768
HEADERS: Final = 256
_TOO_LARGE: Final = (431, "Request Header Fields Too Large")
_TOO_SLOW: Final = (408, "Request Timeout")


def is_too_large(scope: Any) -> bool:
    """Return whether the head of a request, which is here as a whole, is larger than we take."""
    headers = scope["headers"]
    size = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
    size += sum(len(name) + len(value) for name, value in headers)
    return size > HEAD_BYTES or len(headers) > HEADERS


def bound_connections(server: Any, patience_s: Callable[[], float]) -> None:
    """Let a uvicorn server make connections that wait no longer than that for their client.

    Nothing is changed where another parser was chosen: it has bounds of its own.
    """
    if server.config.http_protocol_class is HttpToolsProtocol:
        server.config.http_protocol_class = lambda **given: Connection(patience_s, **given)


class Connection(HttpToolsProtocol):
    """One client's connection, which ends if the client keeps us waiting."""

    def __init__(self, patience_s: Callable[[], float], **given: Any) -> None:
        """Wait so long: for a head, for what is left of a refused body, and to be read."""
        super().__init__(**given)
        self._patience_s = patience_s
        self._waiting: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._in_head = False
        # Since a head began or ended, or a part of a body came.
        self._bytes_of_no_use = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request: uvicorn's own time counts after one only."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read a part, and see whether the client is still at the head of a request."""
        self._bytes_of_no_use += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head or not self._is_busy():
            self._wait()
        else:
            self._unwait()
        if self._bytes_of_no_use > HEAD_BYTES:
            self._give_up(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Note that a head begins; called by the parser."""
        self._in_head, self._bytes_of_no_use = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, no trailer: a proxy before us has not looked at those."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that a head is complete; called by the parser."""
        self._in_head, self._bytes_of_no_use = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; called by the parser."""
        self._bytes_of_no_use = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell also the request that runs, where others were sent behind it."""
        for timer in (self._waiting, self._stalled):
            if timer is not None:
                timer.cancel()
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._patience_s(), self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self._patience_s(), self._give_up, _TOO_SLOW)

    def _unwait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self, why: tuple[int, str]) -> None:
        """End the connection; say why only to one who waits for an answer."""
        if self._in_head and not self._is_busy() and not self.transport.is_closing():
            head = f"HTTP/1.1 {why[0]} {why[1]}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.close()
        else:
            self.transport.abort()
