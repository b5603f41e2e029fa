"""Lines of a text file, with numbers, as both line formats need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from adapters.errors import DataInvalid
from training.corpus.reading import Reading

_BOM: Final = "\ufeff"
_LONGEST_BYTES: Final = 16 * 2**20


def numbered_lines(path: Path, how: Reading) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end). Raises DataInvalid.

    Lines end at LF or CRLF only: U+2028, form feeds and a lone CR are text. A line of over 16 MiB
    is bad, and never in memory as a whole.
    """
    try:
        with path.open("rb") as file:
            for number, data in enumerate(_pieces(file), start=1):
                if (line := _line(data, path, number, how)) is not None:
                    yield number, line
    except OSError as error:
        raise DataInvalid(
            f"{path}: cannot be read ({error.strerror}); check the path in the recipe "
            "(it is relative to the recipe's folder)"
        ) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines; of one that is too long only its beginning."""
    while data := file.readline(_LONGEST_BYTES + 1):
        yield data
        while len(data) > _LONGEST_BYTES and not data.endswith(b"\n"):
            data = file.readline(_LONGEST_BYTES + 1)


def _line(data: bytes, path: Path, number: int, how: Reading) -> str | None:
    if len(data) > _LONGEST_BYTES:
        how.found_bad(
            DataInvalid(
                f"{path}:{number}: a line of over {_LONGEST_BYTES // 2**20} MiB, found no end; is "
                "it a file of lines?"
            )
        )
        return None
    try:
        line = data.decode("utf-8")
    except UnicodeDecodeError as error:
        how.found_bad(
            DataInvalid(
                f"{path}:{number}: byte {error.start + 1} is not UTF-8; "
                "convert the file, for example with `iconv -f LATIN1 -t UTF-8`"
            )
        )
        return None
    line = line.removesuffix("\n").removesuffix("\r")
    return line.removeprefix(_BOM) if number == 1 else line
