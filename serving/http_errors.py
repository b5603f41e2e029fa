"""Errors on the wire, in the shape that OpenAI's clients parse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from traceback import walk_tb
from typing import Any, Final

from fastapi.dependencies.utils import request_body_to_args
from starlette.requests import Request
from starlette.responses import JSONResponse

from adapters.errors import (
    AdminOnly,
    AllowanceUsed,
    DeadlineExceeded,
    DragomanError,
    EngineDead,
    KeyInvalid,
    QuotaExceeded,
    RequestInvalid,
    Unavailable,
)
from serving.door.keyring import speaks_deepl
from serving.door.record import ERROR

# Another replica can answer at once; alone, a restart takes longer than a client should wait.
_RETRY_AFTER_S: Final = 2.0
_SHOWN: Final = 150
# What DeepL's own service answers, and its clients understand: any other is "unexpected status".
_DEEPL_STATUS: Final[Mapping[type[DragomanError], int]] = {KeyInvalid: 403, QuotaExceeded: 456}
# What vLLM's own check of a body may raise where a field has a type that it does not expect:
# `"structured_outputs": 1` is an AttributeError in vLLM 0.32. Of ValueError, TypeError and
# OverflowError it makes a 400 itself.
UNREADABLE: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError)
_TYPES = {
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    413: "RequestTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    431: "RequestTooLargeError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}
_NO_PARAMETER: Final = (
    RequestInvalid,
    Unavailable,
    KeyInvalid,
    AdminOnly,
    AllowanceUsed,
    DeadlineExceeded,
)


def error_body(error: DragomanError) -> dict[str, Any]:
    """Return OpenAI's error object; `code` is our stable code.

    What goes wrong on the way to a version is about `model`, the rest about no one parameter.
    """
    param = None if isinstance(error, _NO_PARAMETER) else "model"
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(error.http_status, "InternalServerError"),
            "param": param,
            "code": error.code,
        }
    }


async def answer_dragoman_error(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to a request that raised a DragomanError."""
    if not isinstance(error, DragomanError):
        raise error
    note_error(request.scope, error)
    return error_answer(error, deepl=speaks_deepl(request.scope))


async def answer_engine_dead(request: Request, __: Exception) -> JSONResponse:
    """Return the answer to a request that met the engine's death in vLLM's own code."""
    note_error(request.scope, EngineDead())
    return error_answer(EngineDead())


async def answer_unreadable(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to a body that broke the check of it. Raises what broke elsewhere."""
    if not _broke_while_reading(error):
        raise error
    invalid = RequestInvalid(
        f"the body cannot be read ({type(error).__name__}: {str(error)[:_SHOWN]}); look at the "
        "types of its fields"
    )
    note_error(request.scope, invalid)
    return error_answer(invalid, deepl=speaks_deepl(request.scope))


def _broke_while_reading(error: Exception) -> bool:
    frames = walk_tb(error.__traceback__)
    return any(frame.f_code is request_body_to_args.__code__ for frame, _ in frames)


def note_error(scope: Any, error: DragomanError) -> None:
    """Say at the edge why a request failed, for the log."""
    scope.setdefault("state", {})[ERROR] = error.code


def error_answer(
    error: DragomanError, beside: Mapping[str, Any] | None = None, *, deepl: bool = False
) -> JSONResponse:
    """Return the answer that says `error`, and the fields `beside` it."""
    body = {**(beside or {}), **error_body(error)}
    status = _DEEPL_STATUS.get(type(error), error.http_status) if deepl else error.http_status
    if deepl:
        body["message"] = str(error)  # where DeepL's clients look
    return JSONResponse(body, status_code=status, headers=_headers(error))


def _headers(error: DragomanError) -> dict[str, str]:
    if isinstance(error, KeyInvalid):
        return {"WWW-Authenticate": "Bearer"}
    seconds = getattr(error, "retry_after_s", None)
    if seconds is None:
        seconds = _RETRY_AFTER_S if isinstance(error, Unavailable) else None
    if seconds is None:
        return {}
    # Whole seconds in the standard's header; OpenAI's clients look for the finer one first.
    return {
        "Retry-After": str(max(1, math.ceil(seconds))),
        "Retry-After-Ms": str(max(1, math.ceil(seconds * 1000))),
    }


def plain_error(status: int, code: str, message: str) -> JSONResponse:
    """Return an error that no exception stands behind."""
    kind = _TYPES.get(status, "InternalServerError")
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status_code=status)
