"""gettext catalogues (.po, .mo): every translated message, singular and plural."""

from __future__ import annotations

import gettext
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import polib

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.segment import Segment

# The plural form that a variable count most often takes: 5 is "many" where languages have it.
_TYPICAL_PLURAL = 5

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
    try:
        if path.suffix == ".mo":
            return polib.mofile(str(path))
        return polib.pofile(str(path))
    except (OSError, ValueError, struct.error, IndexError, LookupError) as error:
        raise DataInvalid(
            f"{path}: not a readable gettext catalogue ({error}); check it with "
            f"`msg{'unfmt' if path.suffix == '.mo' else 'fmt --check'} {path.name}`"
        ) from error


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
        return parse(expression.partition(";")[0].strip())
    except ValueError as error:
        raise DataInvalid(
            f"{path}: header Plural-Forms {header!r} cannot be read ({error}); expected for "
            "example 'nplurals=2; plural=(n != 1);'"
        ) from error


def _document(entry: _Entry, path: Path) -> str:
    if entry.occurrences:
        return str(entry.occurrences[0][0])
    return f"{path.stem}#{entry.msgctxt}" if entry.msgctxt else path.stem
