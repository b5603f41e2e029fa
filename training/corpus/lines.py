"""Lines of a text file, with numbers, as both line formats need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.errors import DataInvalid

_BOM = "\ufeff"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end). Raises DataInvalid.

    Lines end at LF or CRLF only: U+2028, form feeds and a lone CR are text.
    """
    try:
        with path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                line = _decode(data, path, number).removesuffix("\n").removesuffix("\r")
                yield number, line.removeprefix(_BOM) if number == 1 else line
    except OSError as error:
        raise DataInvalid(
            f"{path}: cannot be read ({error.strerror}); check the path in the recipe "
            "(it is relative to the recipe's folder)"
        ) from error


def _decode(data: bytes, path: Path, number: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataInvalid(
            f"{path}:{number}: byte {error.start + 1} is not UTF-8; "
            "convert the file, for example with `iconv -f LATIN1 -t UTF-8`"
        ) from error
