"""Tables of pairs: CSV (as spreadsheets write it) and XLSX."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.lines import numbered_lines
from training.corpus.reading import Columns, Reading
from training.corpus.segment import Segment

_DELIMITERS: Final = ",;\t|"
# What a workbook may unpack to; a real one of a million rows is about a tenth of it.
_MOST_BYTES: Final = 2 * 1024**3
_MOST_TIMES: Final = 200
# The texts of a workbook are in memory together, and take some four times as much there.
_MOST_SHARED_BYTES: Final = 256 * 1024**2
_MOST_ROWS: Final = 2**20  # of a sheet, as spreadsheets have them


def read_csv(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the rows of `path`, whose first names the columns. Raises DataInvalid with path:line.

    Commas, semicolons, tabs or bars divide; quoted cells may hold any of them, and line breaks.
    """
    lines = _Lines(path, how)
    mark = max(_DELIMITERS, key=lines.peek().count)
    yield from _segments(_rows_of(lines, mark), path, how)


def read_xlsx(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the rows of every sheet, whose first row names the columns. Raises DataInvalid."""
    _check_size(path)
    for rows in _sheets(path):
        yield from _segments(rows, path, how)


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


class _Lines:
    """The lines of a table for csv.reader, and which of them make the row that it reads."""

    def __init__(self, path: Path, how: Reading) -> None:
        self.path, self.how = path, how
        self._numbered = numbered_lines(path, how)
        self._held: tuple[int, str] | None = None
        self.first = self._last = self._taken = 0

    def peek(self) -> str:
        """Return the first line, which is read again."""
        self._held = next(self._numbered, None)
        return self._held[1] if self._held else ""

    def begin(self) -> None:
        """Begin a row."""
        self.first = self._last = self._taken = 0

    @property
    def is_whole(self) -> bool:
        """Whether no line of the row was bad, and so left out."""
        return self._taken == self._last - self.first + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        found, self._held = self._held or next(self._numbered, None), None
        if found is None:
            raise StopIteration
        self._last, line = found
        self.first = self.first or self._last
        self._taken += 1
        return f"{line}\n"


def _rows_of(lines: _Lines, mark: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line. A cell of over 128 Ki is bad: no text."""
    rows = csv.reader(lines, delimiter=mark, strict=True)
    while True:
        lines.begin()
        try:
            row = next(rows, None)
        except csv.Error as error:
            lines.how.found_bad(
                DataInvalid(f"{lines.path}:{lines.first}: not a row of CSV ({error})")
            )
            continue
        if row is None:
            return
        if lines.is_whole:
            yield lines.first, row


def _sheets(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Yield the rows of each sheet, numbered. Raises DataInvalid."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        sheets = book.worksheets
    except Exception as error:  # a broken file makes openpyxl raise anything
        raise _unreadable(path, error) from error
    try:
        for sheet in sheets:
            # What a sheet says of its size is often wrong, and then columns would be cut.
            sheet.reset_dimensions()
            yield _numbered(sheet.iter_rows(values_only=True), path)
    finally:
        book.close()


def _numbered(rows: Iterable[Sequence[object]], path: Path) -> Iterator[tuple[int, list[str]]]:
    number, width, given = 0, 0, iter(rows)
    while True:
        try:
            row = next(given, None)
        except Exception as error:  # as above, while the sheet is read
            raise _unreadable(path, error) from error
        if row is None:
            return
        number += 1
        if number > _MOST_ROWS:  # a row may claim any number, and those before it are made up
            raise DataInvalid(f"{path}:{number}: expected at most {_MOST_ROWS} rows, found more")
        width = width or len(row)
        cells = ["" if cell is None else str(cell) for cell in row]
        yield number, cells + [""] * (width - len(cells))  # empty ones at the end are not stored


def _unreadable(path: Path, error: Exception) -> DataInvalid:
    return DataInvalid(f"{path}: not a readable .xlsx workbook ({type(error).__name__}: {error})")


def _check_size(path: Path) -> None:
    """Raise DataInvalid for a workbook that would unpack to far more than it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    unpacked = sum(sizes.values())
    shared = max((size for name, size in sizes.items() if "sheets/" not in name), default=0)
    if (
        unpacked > min(_MOST_BYTES, _MOST_TIMES * path.stat().st_size + 2**20)
        or shared > _MOST_SHARED_BYTES
    ):
        raise DataInvalid(
            f"{path}: unpacks to {unpacked} bytes, which no real workbook of its size does"
        )
