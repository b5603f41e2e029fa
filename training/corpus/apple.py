"""Apple's Localizable.strings of one language, and .xcstrings catalogues of all."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

from adapters.errors import DataInvalid
from training.corpus.languages import speaks
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.strings import String, unescaped
from training.corpus.whole_file import read_bytes, read_object

_TOKEN: Final = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | (?P<unclosed>/\*.*)
      | (?P<text>"(?:[^"\\]|\\.)*") | (?P<word>[\w.$/:-]+) | (?P<mark>=) | (?P<end>;)""",
    re.VERBOSE | re.DOTALL,
)
_ROW: Final = 3  # key, "=", text
_CATALOGUE: Final = 'a string catalogue with "strings"'
_PLIST: Final = (b"bplist", b"<?xml")
# What plistlib raises beside its own error for files that are cut or made up.
_BROKEN_PLIST: Final = (
    ValueError, ExpatError, OverflowError, LookupError, TypeError, AttributeError, RecursionError,
    MemoryError,
)  # fmt: skip


def read_strings(path: Path, how: Reading) -> Iterator[String]:
    """Yield the strings of a .strings file: text in UTF-8 or UTF-16, or a property list.

    Raises DataInvalid with path:line; after a bad row the next is read.
    """
    data = read_bytes(path)
    if data.startswith(_PLIST):
        yield from _of_plist(data, path)
        return
    row: list[str] = []
    start = 1
    for kind, piece, line in _tokens(_decoded(data, path), path, how):
        start = start if row else line
        if kind != "end":
            if len(row) <= _ROW:  # one more is enough to see that it is none
                row.append(unescaped(piece[1:-1] if piece.startswith('"') else piece))
            continue
        if len(row) == _ROW and row[1] == "=":
            yield String(row[0], row[2], start)
        elif row:
            how.found_bad(
                DataInvalid(f'{path}:{start}: expected "key" = "text";, found {row!r:.80}')
            )
        row = []
    if row:
        how.found_bad(
            DataInvalid(f"{path}:{start}: the last row has no ';' at its end: {row!r:.80}")
        )


def read_xcstrings(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the translated strings of a string catalogue, plurals and devices too.

    Where the source language has no text of its own, the key is the text. Raises DataInvalid.
    """
    body = read_object(path, _CATALOGUE)
    if not isinstance(body.get("strings"), dict):
        raise DataInvalid(f"{path}: expected {_CATALOGUE}, found none")
    if not speaks(str(body.get("sourceLanguage", "")), how.pair.source):
        raise DataInvalid(
            f"{path}: expected the sourceLanguage {how.pair.source}, found "
            f"{body.get('sourceLanguage')!r}; set `pair` of this source"
        )
    for key, entry in body["strings"].items():
        try:
            texts = entry.get("localizations", {})
            source = dict(_units(texts.get(body["sourceLanguage"], {}))) or {"": key}
            code = next((tag for tag in texts if speaks(tag, how.pair.target)), None)
            target = dict(_units(texts[code])) if code else {}
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            how.found_bad(DataInvalid(f"{path}: {key!r:.60} is no string of a catalogue ({error})"))
            continue
        for variant, text in target.items():
            if (said := source.get(variant, source.get(""))) is not None:
                yield Segment(said, text, path.name, str(path), 0)


def _units(body: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """Yield (variant, text) of what is translated; the plain text's variant is empty."""
    unit = body.get("stringUnit")
    if unit and unit.get("state") == "translated":
        if not isinstance(unit["value"], str):
            raise TypeError("a value that is no text")
        yield at, unit["value"]
    for kind, variants in body.get("variations", {}).items():
        for name, inner in variants.items():
            yield from _units(inner, f"{at}/{kind}.{name}")


def _of_plist(data: bytes, path: Path) -> Iterator[String]:
    try:
        body = plistlib.loads(data)
    except _BROKEN_PLIST as error:
        raise DataInvalid(f"{path}: not a readable property list ({error})") from error
    if isinstance(body, dict):
        texts = ((key, text) for key, text in body.items() if isinstance(key, str))
        yield from (String(key, text) for key, text in texts if isinstance(text, str))


def _tokens(text: str, path: Path, how: Reading) -> Iterator[tuple[str, str, int]]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            how.found_bad(DataInvalid(f"{path}:{line}: cannot be read: {text[place:end]!r:.80}"))
            place = end
            continue
        if match.lastgroup == "unclosed":
            how.found_bad(DataInvalid(f"{path}:{line}: a comment without its end, */"))
        elif match.lastgroup:
            yield match.lastgroup, match[0], line
        line += match[0].count("\n")
        place = match.end()


def _decoded(data: bytes, path: Path) -> str:
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataInvalid(f"{path}: byte {error.start + 1} is not {encoding}") from error
