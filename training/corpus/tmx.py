"""TMX 1.4 (and 1.1): translation memories of any size, with their inline codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid
from training.corpus.inline import InlineCodes
from training.corpus.languages import speaks
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.xml import elements, language_of, local_name

# Properties by which tools name the file that a unit comes from.
_DOCUMENTS: Final = ("document", "filename", "file", "x-document", "x-filename", "x-file")


def read_tmx(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the units of `path` that have both languages. Raises DataInvalid with path:line.

    `en-US` is taken for `en`, the exact tag first. A file with no unit of the pair is an error
    that names the languages it has.
    """
    languages: set[str] = set()
    found = False
    for unit in elements(path, ("tu",)):
        texts = dict(_variants(unit))
        source, target = (_best(texts, code) for code in (how.pair.source, how.pair.target))
        if source is None or target is None:
            languages.update(texts)
            continue
        found, codes = True, InlineCodes(path)
        try:
            pieces = codes.text(source), codes.text(target)
        except DataInvalid as error:
            how.found_bad(error)
            continue
        yield Segment(*pieces, _document(unit) or path.name, str(path), unit.sourceline or 0)
    if not found:
        raise DataInvalid(
            f"{path}: no translation unit in both {how.pair.source} and {how.pair.target}, found "
            f"{', '.join(sorted(languages)[:8]) or 'no unit at all'}; set `pair` of this source"
        )


def _variants(unit: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    for variant in unit.iterfind("{*}tuv"):
        tag, segment = language_of(variant), variant.find("{*}seg")
        if tag and segment is not None:
            yield tag, segment


def _best(texts: dict[str, etree._Element], language: str) -> etree._Element | None:
    exact = next((tag for tag in texts if tag.lower().replace("-", "_") == language), None)
    near = exact or next((tag for tag in texts if speaks(tag, language)), None)
    return texts[near] if near is not None else None


def _document(unit: etree._Element) -> str | None:
    for child in unit:
        if local_name(child) == "prop" and (child.get("type") or "").lower() in _DOCUMENTS:
            return child.text
    return None
