"""XLIFF 1.2 and 2.x: the finished units, with their inline codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.inline import InlineCodes
from training.corpus.languages import speaks
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.xml import child_of, elements, local_name

# Of 1.2; a target without a state is what most tools write for a finished one.
_UNFINISHED: Final = (
    "new", "needs-translation", "needs-adaptation", "needs-l10n", "needs-review-adaptation",
    "needs-review-l10n", "needs-review-translation",
)  # fmt: skip
# Of 2.x, whose default this is.
_INITIAL: Final = "initial"


def read_xliff(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the translated units of `path`. Raises DataInvalid with path:line.

    Units that must not be translated, have no target, or are in a state before "translated" are
    left out; so are the offers of a memory (alt-trans, matches).
    """
    checked: etree._Element | None = None
    document = path.name
    for unit in elements(path, "xliff", ("trans-unit", "unit")):
        try:
            if checked is None or unit.getparent() is not checked:
                _check_languages(unit, how.pair, path)
                checked, document = unit.getparent(), _document(unit) or path.name
            yield from _of_unit(unit, path, document)
        except DataInvalid as error:
            how.found_bad(error)


def _of_unit(unit: etree._Element, path: Path, document: str) -> Iterator[Segment]:
    if unit.get("translate") == "no":
        return
    parts = _parts_1(unit) if local_name(unit) == "trans-unit" else _parts_2(unit)
    for source, target in parts:
        codes = InlineCodes(path)
        texts = codes.text(source), codes.text(target)
        yield Segment(*texts, document, str(path), source.sourceline or 0)


def _parts_1(unit: etree._Element) -> Iterator[tuple[etree._Element, etree._Element]]:
    source, target = child_of(unit, "source"), child_of(unit, "target")
    if source is None or target is None or target.get("state") in _UNFINISHED:
        return
    whole = child_of(unit, "seg-source")
    sources, targets = (_marked(side) for side in (whole if whole is not None else source, target))
    if sources and sources.keys() == targets.keys():
        yield from ((sources[key], targets[key]) for key in sources)
    else:
        yield source, target


def _marked(side: etree._Element) -> dict[str | None, etree._Element]:
    """Return the segments that a tool marked in one side, by their ids."""
    marks = (child for child in side if local_name(child) == "mrk" and child.get("mtype") == "seg")
    return {mark.get("mid"): mark for mark in marks}


def _parts_2(unit: etree._Element) -> Iterator[tuple[etree._Element, etree._Element]]:
    for segment in (child for child in unit if local_name(child) == "segment"):
        source, target = child_of(segment, "source"), child_of(segment, "target")
        # A tool that knows no states writes none, and then a target is a translation.
        if source is not None and target is not None and segment.get("state") != _INITIAL:
            yield source, target


def _check_languages(unit: etree._Element, pair: LanguagePair, path: Path) -> None:
    for ancestor in unit.iterancestors():
        sides = (
            (pair.source, ancestor.get("source-language") or ancestor.get("srcLang")),
            (pair.target, ancestor.get("target-language") or ancestor.get("trgLang")),
        )
        for language, tag in sides:
            if tag and not speaks(tag, language):
                raise DataInvalid(
                    f"{path}:{ancestor.sourceline}: expected {pair}, found text in {tag}; set "
                    "`pair` of this source to the languages of the file"
                )


def _document(unit: etree._Element) -> str | None:
    for ancestor in unit.iterancestors("{*}file"):
        return ancestor.get("original") or ancestor.get("id")
    return None
