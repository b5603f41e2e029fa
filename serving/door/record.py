"""One line of the log for each request: who asked what, what it took, and how it ended.

Nothing of the text stands in it, no header but the ids, and no query string, which may hold a key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from serving.door import caller, request_id, used

# Where the ASGI scope's state carries the code of the error that a request got.
ERROR: Final = "dragoman_error"
_GONE: Final = 499
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500
_PROBES: Final = frozenset({"/health", "/live", "/ready", "/startup", "/metrics", "/metrics/"})
_LONGEST_ROUTE: Final = 200
_LONGEST_METHOD: Final = 16
# https://www.w3.org/TR/trace-context/#traceparent-header; later versions may have more parts.
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE: Final = "0" * 32
access_log: Final = logging.getLogger("dragoman.access")


class Ended(Protocol):
    """One request at its end: serving.traffic.Exchange."""

    scope: Any
    state: Any
    # 0 if the client was told nothing.
    status: int
    # Whether the client hung up, before or after the answer was out.
    gone: bool
    # Whether the last part of the answer was sent.
    finished: bool
    # Of the body, as it came.
    bytes_in: int


def write_record(ended: Ended, *, seconds: float) -> None:
    """Log one request that took so long; probes that found all well only at DEBUG."""
    fields = record_of(ended, seconds=seconds)
    level = _level(fields)
    if access_log.isEnabledFor(level):
        access_log.log(level, "%s", _line(fields), extra=fields)


def record_of(ended: Ended, *, seconds: float) -> dict[str, Any]:
    """Return the fields of a request's line; None where it did not come so far."""
    scope, state = ended.scope, ended.state
    status = ended.status or _GONE
    spent, resolved = state.get(used.STATE), state.get("dragoman")
    adapter, version = state.get("dragoman_labels", ("", ""))
    sender = state.get(caller.STATE)
    return {
        "event": "request",
        "request_id": state.get(request_id.STATE),
        "key": (sender.name or None) if sender is not None else None,
        "method": _escaped(scope["method"], _LONGEST_METHOD),
        "route": _escaped(scope["path"], _LONGEST_ROUTE),
        "status": status,
        "outcome": _outcome(ended, status),
        "error": state.get(ERROR),
        "adapter": adapter or None,
        "version": int(version) if version.isdecimal() else None,
        "alias": resolved.route if resolved is not None else None,
        "ms": _ms(seconds),
        "queue_ms": _ms(getattr(spent, "queue_s", None)),
        "first_token_ms": _ms(getattr(spent, "first_token_s", None)),
        "prompt_tokens": getattr(spent, "prompt_tokens", None),
        "completion_tokens": getattr(spent, "completion_tokens", None),
        "characters": getattr(spent, "characters", None),
        "bytes_in": ended.bytes_in,
        **_trace(scope),
    }


def _outcome(ended: Ended, status: int) -> str:
    """Return ok, gone (the client hung up), the error's code, or refused or failed without one."""
    if status == _GONE or (ended.gone and not ended.finished):
        return "gone"
    code: str | None = ended.state.get(ERROR)
    if code:
        return code
    if status >= _SERVER_ERROR or not ended.finished:
        return "failed"
    return "refused" if status >= _CLIENT_ERROR else "ok"


def _level(fields: Mapping[str, Any]) -> int:
    status = fields["status"]
    # An answer that broke after it had begun has status 200.
    broke = status < _CLIENT_ERROR and fields["outcome"] not in ("ok", "gone")
    if status >= _SERVER_ERROR or broke:
        return logging.WARNING
    return logging.DEBUG if fields["route"] in _PROBES and status < _CLIENT_ERROR else logging.INFO


def _line(fields: Mapping[str, Any]) -> str:
    """Return the fields that a person looks for first."""
    said = [f"{fields['method']} {fields['route']} {fields['status']} {fields['ms']:.0f} ms"]
    if fields["key"]:
        said.append(f"key={fields['key']}")
    if fields["adapter"]:
        version = f"@{fields['version']}" if fields["version"] is not None else ""
        said.append(f"adapter={fields['adapter']}{version}")
    if fields["prompt_tokens"]:
        said.append(f"{fields['prompt_tokens']}+{fields['completion_tokens']} tokens")
    if fields["outcome"] != "ok":
        said.append(f"outcome={fields['outcome']}")
    said.append(f"id={fields['request_id']}")
    return " ".join(said)


def _trace(scope: Any) -> dict[str, str]:
    given = request_id.header_of(scope["headers"], b"traceparent") or b""
    found = _TRACEPARENT.fullmatch(given.strip())
    trace_id = found[1].decode() if found else _NO_TRACE
    return {} if trace_id == _NO_TRACE else {"trace_id": trace_id}


def _escaped(text: str, most: int) -> str:
    """Return what a client chose without space, quote or newline, so that it forges no line."""
    # Cut twice: a long one need not be encoded whole, and each character may become twelve.
    shown = quote(text[: most + 1], safe="/:@!$&'()*+,;=~", errors="backslashreplace")
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
