"""Tables of pairs: CSV (as spreadsheets write it) and XLSX."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.lines import numbered_lines
from training.corpus.reading import Columns, Reading
from training.corpus.segment import Segment

_DELIMITERS: Final = ",;\t|"
# What a workbook may unpack to; a real one of a million rows is about a tenth of it.
_MOST_BYTES: Final = 2 * 1024**3
_MOST_TIMES: Final = 200


def read_csv(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the rows of `path`, whose first names the columns. Raises DataInvalid with path:line.

    Commas, semicolons, tabs or bars divide; quoted cells may hold any of them, and line breaks.
    """
    lines = (f"{line}\n" for _, line in numbered_lines(path, how))
    first = next(lines, "")
    mark = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(16 * 1024**2)
    rows = csv.reader(_again(first, lines), delimiter=mark, strict=True)
    yield from _segments(_numbered(rows, path, how), path, how)


def read_xlsx(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the rows of every sheet, whose first row names the columns. Raises DataInvalid."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    _check_size(path)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataInvalid(f"{path}: not a readable .xlsx workbook ({error})") from error
    try:
        for sheet in book.worksheets:
            rows = ([_cell(cell) for cell in row] for row in sheet.iter_rows(values_only=True))
            yield from _segments(enumerate(rows, start=1), path, how)
    finally:
        book.close()


def _segments(
    rows: Iterable[tuple[int, Sequence[str]]], path: Path, how: Reading
) -> Iterator[Segment]:
    pair, columns = how.pair, how.columns
    numbered = iter(rows)
    head = next(numbered, (1, []))[1]
    names = [cell.strip().lower().replace("-", "_") for cell in head]
    places = _places(names, pair, columns)
    if places is None:
        wanted = f"{columns.source} and {columns.target}" if columns else "source and target"
        raise DataInvalid(
            f"{path}:1: expected a first row with the columns {wanted} (or {pair.source} and "
            f"{pair.target}), found {', '.join(head)[:80] or 'none'}; add it, or set `columns`"
        )
    source, target, document = places
    for number, row in numbered:
        if not any(row):
            continue
        if len(row) <= max(source, target):
            how.found_bad(
                DataInvalid(f"{path}:{number}: expected {len(names)} cells, found {len(row)}")
            )
            continue
        named = row[document] if document is not None and len(row) > document else ""
        yield Segment(row[source], row[target], named or path.name, str(path), number)


def _places(
    names: list[str], pair: LanguagePair, columns: Columns | None
) -> tuple[int, int, int | None] | None:
    document = names.index("doc") if "doc" in names else None
    choices = [("source", "target"), (pair.source, pair.target)]
    if columns is not None:
        choices = [(columns.source.lower(), columns.target.lower())]
    for source, target in choices:
        if source in names and target in names:
            return names.index(source), names.index(target), document
    return None


def _numbered(rows: Any, path: Path, how: Reading) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            how.found_bad(DataInvalid(f"{path}:{rows.line_num}: not a row of CSV ({error})"))
            continue
        if row is None:
            return
        yield rows.line_num, row


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _check_size(path: Path) -> None:
    """Raise DataInvalid for a workbook that would unpack to far more than it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataInvalid(f"{path}: not a readable .xlsx workbook ({error})") from error
    if unpacked > min(_MOST_BYTES, _MOST_TIMES * path.stat().st_size + 2**20):
        raise DataInvalid(
            f"{path}: unpacks to {unpacked} bytes, which no real workbook of its size does"
        )
