"""Errors on the wire, in the shape that OpenAI's clients parse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from adapters.errors import DragomanError, EngineDead, RequestInvalid, Unavailable

# Another replica can answer at once; alone, a restart takes longer than a client should wait.
_RETRY_AFTER_S = "2"
_TYPES = {
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    503: "ServiceUnavailableError",
}


def error_body(error: DragomanError) -> dict[str, Any]:
    """Return OpenAI's error object; `code` is our stable code.

    What goes wrong on the way to a version is about `model`, the rest about no one parameter.
    """
    param = None if isinstance(error, (RequestInvalid, Unavailable)) else "model"
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(error.http_status, "InternalServerError"),
            "param": param,
            "code": error.code,
        }
    }


async def answer_dragoman_error(_: Request, error: Exception) -> JSONResponse:
    """Return the answer to a request that raised a DragomanError."""
    if not isinstance(error, DragomanError):
        raise error
    return error_answer(error)


async def answer_engine_dead(_: Request, __: Exception) -> JSONResponse:
    """Return the answer to a request that met the engine's death in vLLM's own code."""
    return error_answer(EngineDead())


def error_answer(error: DragomanError, beside: Mapping[str, Any] | None = None) -> JSONResponse:
    """Return the answer that says `error`, and the fields `beside` it."""
    headers = {"Retry-After": _RETRY_AFTER_S} if isinstance(error, Unavailable) else None
    body = {**(beside or {}), **error_body(error)}
    return JSONResponse(body, status_code=error.http_status, headers=headers)


def plain_error(status: int, code: str, message: str) -> JSONResponse:
    """Return an error that no exception stands behind."""
    kind = _TYPES.get(status, "InternalServerError")
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status_code=status)
