"""Locale files in JSON, one a language: i18next (nested keys) and ARB (with metadata)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.strings import String

_DEEPEST: Final = 64


def read_locale_json(path: Path, _: Reading) -> Iterator[String]:
    """Yield the strings of `path`, keys joined by dots. Raises DataInvalid.

    What begins with `@` is metadata (ARB). Values that are no text are left out.
    """
    try:
        body = json.loads(path.read_bytes())
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"{path}: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise DataInvalid(f'{path}: expected an object of texts such as {{"save": "Save"}}')
    yield from _strings(body, "", _DEEPEST)


def _strings(value: Any, key: str, levels: int) -> Iterator[String]:
    if isinstance(value, str):
        yield String(key, value)
        return
    if levels == 0:
        return
    inner: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, dict):
        inner = ((name, item) for name, item in value.items() if not name.startswith("@"))
    elif isinstance(value, list):
        inner = ((str(place), item) for place, item in enumerate(value))
    for name, item in inner:
        yield from _strings(item, f"{key}.{name}" if key else name, levels - 1)
