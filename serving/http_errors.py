"""Errors on the wire, in the shape that OpenAI's clients parse."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from adapters.errors import DragomanError, RequestInvalid

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
    param = None if isinstance(error, RequestInvalid) else "model"
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
    return JSONResponse(error_body(error), status_code=error.http_status)


def plain_error(status: int, code: str, message: str) -> JSONResponse:
    """Return an error that no exception stands behind."""
    kind = _TYPES.get(status, "InternalServerError")
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status_code=status)
