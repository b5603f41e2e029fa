"""Plain text: one text for each block between empty lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment

# Characters of a block; a file without empty lines would be one, however large.
_LONGEST: Final = 2**20


def read_text(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the blocks of `path` as monolingual segments. Raises DataInvalid with path:line.

    A block of over a million characters is bad, and never in memory as a whole.
    """
    block: list[str] = []
    start, size = 1, 0
    for number, line in numbered_lines(path, how):
        if not line.strip():
            yield from _segments(block, how, path, start)
            block, size = [], 0
            continue
        start = number if not size else start
        size += len(line)
        if size <= _LONGEST:
            block.append(line)
        elif block or size == len(line):
            block = []
            how.found_bad(
                DataInvalid(
                    f"{path}:{start}: expected texts between empty lines, found one of over "
                    f"{_LONGEST} characters; put an empty line between them"
                )
            )
    yield from _segments(block, how, path, start)


def _segments(block: list[str], how: Reading, path: Path, line: int) -> Iterator[Segment]:
    if block:
        text = "\n".join(block)
        yield alone(text, how.pair.source, document=path.name, path=path, line=line)


def alone(text: str, language: str, *, document: str, path: Path, line: int) -> Segment:
    """Return monolingual text as a segment: the text on both sides, of a pair of one language.

    So it is cleaned, split and checked for leaks as any other.
    """
    pair = LanguagePair(language, language)
    return Segment(text, text, document, str(path), line, pair)
