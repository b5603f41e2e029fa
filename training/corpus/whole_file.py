"""Files that are read as a whole: pages, and the strings of one application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid

# The largest real ones, catalogues of all languages of an application, have a tenth of it. In
# memory, JSON of nothing but brackets takes twenty times its size.
_MOST_BYTES: Final = 16 * 2**20


def check_size(path: Path, *, most: int = _MOST_BYTES) -> None:
    """Raise DataInvalid if `path` cannot be had, or has more than `most` bytes."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read ({error.strerror})") from error
    if size > most:
        raise DataInvalid(
            f"{path}: expected at most {most // 2**20} MiB, found {size // 2**20}; no such file of "
            "text is that large: divide it"
        )


def read_bytes(path: Path, *, most: int = _MOST_BYTES) -> bytes:
    """Return what `path` holds. Raises DataInvalid, for more than `most` bytes, too."""
    check_size(path, most=most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read ({error.strerror})") from error


def read_text_of(path: Path, *, most: int = _MOST_BYTES) -> str:
    """Return the text of `path`. Raises DataInvalid, for more than `most` bytes, too."""
    try:
        return read_bytes(path, most=most).decode("utf-8")
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
