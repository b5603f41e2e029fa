"""Files that are read as a whole: pages, and the strings of one application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid


def read_bytes(path: Path) -> bytes:
    """Return what `path` holds. Raises DataInvalid."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read ({error.strerror})") from error


def read_text_of(path: Path) -> str:
    """Return the text of `path`. Raises DataInvalid."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataInvalid(f"{path}: byte {error.start + 1} is not UTF-8") from error


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """Return the JSON object in `path`; `expected` says what it should be. Raises DataInvalid."""
    try:
        body = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"{path}: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise DataInvalid(f"{path}: expected {expected}")
    return body
