"""TMX 1.4 (and 1.1): translation memories of any size, with their inline codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid
from training.corpus.inline import InlineCodes
from training.corpus.languages import is_spelt, speaks
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.xml import child_of, elements, language_of, local_name

# Properties by which tools name the file that a unit comes from.
_DOCUMENTS: Final = ("document", "filename", "file", "x-document", "x-filename", "x-file")

_MOST_TOLD: Final = 8

# A language as the file spells it, and the text in it.
_Variant = tuple[str, etree._Element]


def read_tmx(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the units of `path` that have both languages. Raises DataInvalid with path:line.

    `en-US` is taken for `en`, the exact tag first. A file with no unit of the pair is an error
    that names the languages it has.
    """
    languages: set[str] = set()
    found, where, name = False, str(path), path.name
    for unit in elements(path, "tmx", ("tu",)):
        variants, document = _contents(unit)
        source, target = _best(variants, how.pair.source), _best(variants, how.pair.target)
        if source is None or target is None:
            if len(languages) < _MOST_TOLD:
                languages.update(tag for tag, _ in variants)
            continue
        found = True
        try:
            said, translated = _texts(source, target, path)
        except DataInvalid as error:
            how.found_bad(error)
            continue
        yield Segment(said, translated, document or name, where, unit.sourceline or 0)
    if not found:
        raise DataInvalid(
            f"{path}: no translation unit in both {how.pair.source} and {how.pair.target}, found "
            f"{', '.join(sorted(languages)[:_MOST_TOLD]) or 'no unit at all'}; set `pair` of this "
            "source"
        )


def _contents(unit: etree._Element) -> tuple[list[_Variant], str | None]:
    """Return the texts of a unit, and the document that it comes from where a property says so."""
    variants: list[_Variant] = []
    document = None
    for child in unit:
        name = local_name(child)
        if name == "tuv":
            tag, segment = language_of(child), child_of(child, "seg")
            if tag and segment is not None:
                variants.append((tag, segment))
        elif name == "prop" and (child.get("type") or "").lower() in _DOCUMENTS:
            document = document or child.text
    return variants, document


def _texts(source: etree._Element, target: etree._Element, path: Path) -> tuple[str, str]:
    if not len(source) and not len(target):  # as most are
        return source.text or "", target.text or ""
    codes = InlineCodes(path)
    return codes.text(source), codes.text(target)


def _best(variants: Sequence[_Variant], language: str) -> etree._Element | None:
    near = None
    for tag, segment in variants:
        if is_spelt(tag, language):
            return segment
        if near is None and speaks(tag, language):
            near = segment
    return near
