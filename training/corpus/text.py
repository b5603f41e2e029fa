"""Plain text: one text for each block between empty lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.ids import LanguagePair
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment


def read_text(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the blocks of `path` as monolingual segments. Raises DataInvalid with path:line."""
    block: list[str] = []
    start = 1
    for number, line in numbered_lines(path, how):
        if line.strip():
            start = start if block else number
            block.append(line)
        elif block:
            yield _segment(block, how.pair.source, path, start)
            block = []
    if block:
        yield _segment(block, how.pair.source, path, start)


def _segment(block: list[str], language: str, path: Path, line: int) -> Segment:
    return alone("\n".join(block), language, document=path.name, path=path, line=line)


def alone(text: str, language: str, *, document: str, path: Path, line: int) -> Segment:
    """Return monolingual text as a segment: the text on both sides, of a pair of one language.

    So it is cleaned, split and checked for leaks as any other.
    """
    pair = LanguagePair(language, language)
    return Segment(text, text, document, str(path), line, pair)
