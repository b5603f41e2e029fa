"""Locale files in JSON, one a language: i18next (nested keys) and ARB (with metadata)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from training.corpus.reading import Reading
from training.corpus.strings import String
from training.corpus.whole_file import read_object

_DEEPEST: Final = 64
_EXPECTED: Final = 'an object of texts such as {"save": "Save"}'


def read_locale_json(path: Path, _: Reading) -> Iterator[String]:
    """Yield the strings of `path`, keys joined by dots. Raises DataInvalid.

    What begins with `@` is metadata (ARB). Values that are no text are left out.
    """
    yield from _strings(read_object(path, _EXPECTED), "", _DEEPEST)


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
