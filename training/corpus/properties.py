"""Java .properties: keys and texts of one language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.strings import String, unescaped
from training.corpus.whole_file import read_bytes

# A key ends at the first `=`, `:` or space that no backslash protects.
_ROW: Final = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
# An escape; one of a character without its number is half of one.
_ESCAPE: Final = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def read_properties(path: Path, how: Reading) -> Iterator[String]:
    """Yield the strings of `path`. Raises DataInvalid with path:line.

    UTF-8 as since Java 9; a file that is none is read as ISO 8859-1, as before.
    """
    for number, row in _rows(_read(path)):
        if (wrong := _half_escape(row)) is not None:
            where = row[wrong : wrong + 6]
            how.found_bad(
                DataInvalid(f"{path}:{number}: expected four hex digits after \\u, found {where!r}")
            )
            continue
        match = _ROW.fullmatch(row)
        if match is not None and match[1]:
            yield String(unescaped(match[1]), unescaped(match[2]), number)


def _half_escape(row: str) -> int | None:
    r"""Return where a `\u` stands without four hex digits; `C:\\users` has none."""
    if "\\u" not in row:
        return None
    return next((match.start() for match in _ESCAPE.finditer(row) if match[0] == "\\u"), None)


def _read(path: Path) -> str:
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _rows(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with its number: a backslash at the end goes on in the next."""
    begun, start = "", 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        rest = line.lstrip(" \t\f")
        if not begun and (not rest or rest[0] in "#!"):
            continue
        start = start if begun else number
        slashes = len(rest) - len(rest.rstrip("\\"))
        if slashes % 2:
            begun += rest[:-1]
            continue
        yield start, begun + rest
        begun = ""
    if begun:
        yield start, begun
