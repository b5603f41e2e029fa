"""gettext catalogues (.po, .mo): every translated message, singular and plural."""

from __future__ import annotations

import gettext
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import polib

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.whole_file import check_size

# The plural form that a variable count most often takes: 5 is "many" where languages have it.
_TYPICAL_PLURAL: Final = 5
# The whole catalogue is in memory, and takes some ten times its size there.
_MOST_BYTES: Final = 64 * 2**20
_MOST_LINES: Final = 1000
_LONGEST_BYTES: Final = 256 * 2**10
_BIG_ENDIAN: Final = b"\x95\x04\x12\xde"
_MOST_TIMES: Final = 4
# What polib raises for catalogues that are cut or made up.
_BROKEN: Final = (
    OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError, struct.error,
)  # fmt: skip

_Entry = polib.POEntry | polib.MOEntry
_Catalogue = polib.POFile | polib.MOFile


def read_gettext(path: Path, _: Reading) -> Iterator[Segment]:
    """Yield the translated messages of one catalogue. Raises DataInvalid.

    Fuzzy, obsolete and untranslated entries and the header are skipped. A segment's document is
    the file that the message is used in (PO references), else the catalogue and its context.
    """
    catalogue = _open(path)
    plural_form = _plural_form(catalogue, path)
    entries: list[_Entry] = list(catalogue)
    for number, entry in enumerate(entries, start=1):
        if entry.obsolete or "fuzzy" in entry.flags or not entry.msgid:
            continue
        line = getattr(entry, "linenum", None) or number
        for source, target in _texts(entry, plural_form):
            yield Segment(source, target, _document(entry, path), str(path), line)


def _open(path: Path) -> _Catalogue:
    check_size(path, most=_MOST_BYTES)
    try:
        if path.suffix == ".mo":
            _check_tables(path)
            return polib.mofile(str(path))
        _check_messages(path)
        return polib.pofile(str(path))
    except _BROKEN as error:
        raise DataInvalid(
            f"{path}: not a readable gettext catalogue ({error}); check it with "
            f"`msg{'unfmt' if path.suffix == '.mo' else 'fmt --check'} {path.name}`"
        ) from error


def _check_tables(path: Path) -> None:
    """Raise ValueError or struct.error if the tables name far more text than the file has."""
    data = path.read_bytes()
    order = ">" if data.startswith(_BIG_ENDIAN) else "<"
    _, _, count, *starts = struct.unpack_from(f"{order}5I", data)
    # A count beyond the file is an error of struct, before anything is allocated for it.
    tables = [struct.unpack_from(f"{order}{2 * count}I", data, start) for start in starts]
    named = sum(sum(table[::2]) for table in tables)
    if named > _MOST_TIMES * len(data):
        raise ValueError(f"its tables name {named} bytes of text, and it has {len(data)}")


def _check_messages(path: Path) -> None:
    """Raise DataInvalid for a message without end, on which polib spends quadratic time."""
    lines = size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            is_continued = line.lstrip().startswith(b'"')
            lines, size = (lines + 1, size + len(line)) if is_continued else (0, 0)
            if lines > _MOST_LINES or size > _LONGEST_BYTES:
                raise DataInvalid(
                    f"{path}:{number}: expected a message of at most {_MOST_LINES} lines and "
                    f"{_LONGEST_BYTES // 2**10} KiB, found a longer one; is it a catalogue?"
                )


def _texts(entry: _Entry, plural_form: Callable[[int], int]) -> Iterator[tuple[str, str]]:
    if not entry.msgid_plural:
        if entry.msgstr:
            yield entry.msgid, entry.msgstr
        return
    # With one form (zh, ja) both ids go with it; what only suits one number has other
    # placeholders ("One file" against "%1 …") and is dropped in cleaning.
    forms = {int(form): text for form, text in entry.msgstr_plural.items()}
    for source, count in ((entry.msgid, 1), (entry.msgid_plural, _TYPICAL_PLURAL)):
        if target := forms.get(plural_form(count)):
            yield source, target


def _plural_form(catalogue: _Catalogue, path: Path) -> Callable[[int], int]:
    header = catalogue.metadata.get("Plural-Forms", "")
    _, found, expression = header.partition("plural=")
    if not found or "EXPRESSION" in expression:  # the template's "plural=EXPRESSION;"
        return lambda count: int(count != 1)
    try:
        # The parser of the standard library: it accepts C arithmetic on `n` and nothing else.
        parse: Callable[[str], Callable[[int], int]] = gettext.c2py
        form = parse(expression.partition(";")[0].strip())
        for count in (1, _TYPICAL_PLURAL):
            form(count)  # a division by zero shows only now
        return form
    except (ValueError, ZeroDivisionError) as error:
        raise DataInvalid(
            f"{path}: header Plural-Forms {header!r} cannot be read ({error}); expected for "
            "example 'nplurals=2; plural=(n != 1);'"
        ) from error


def _document(entry: _Entry, path: Path) -> str:
    if entry.occurrences:
        return str(entry.occurrences[0][0])
    return f"{path.stem}#{entry.msgctxt}" if entry.msgctxt else path.stem
