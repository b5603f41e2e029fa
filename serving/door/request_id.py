"""The name of one request, in logs, traces, answers and the engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from secrets import token_hex
from typing import Final

# Where the ASGI scope's state carries it.
STATE: Final = "dragoman_request_id"
_HEADER: Final = b"x-request-id"
# Nothing that a log, a header or a file name would have to escape.
_SAFE: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Headers = Iterable[tuple[bytes, bytes]]


def request_id_of(headers: Headers) -> str:
    """Return the client's X-Request-Id if it is 1 to 64 of A-Z a-z 0-9 . _ -, else a new one.

    headers are those of an ASGI scope.
    """
    given = header_of(headers, _HEADER)
    return given.decode() if given and _SAFE.fullmatch(given) else token_hex(16)


def engine_id(request_id: str) -> str:
    """Return an id that no other request has, also one of the same X-Request-Id.

    vLLM 0.32 names its requests by that header (`_base_request_id`). It adds random characters of
    its own, but its answers' `id` and the id by which it aborts from outside stay the client's, and
    with VLLM_DISABLE_REQUEST_ID_RANDOMIZATION a second request of one id continues the first.
    """
    return f"{request_id}-{token_hex(8)}"


def with_engine_id(headers: Headers, unique: str) -> list[tuple[bytes, bytes]]:
    """Return the headers as vLLM shall see them: one X-Request-Id, ours."""
    return [*((name, value) for name, value in headers if name != _HEADER),
            (_HEADER, unique.encode())]  # fmt: skip


def header_of(headers: Headers, name: bytes) -> bytes | None:
    """Return the first value of a header, by its name in lower case."""
    return next((value for given, value in headers if given == name), None)
