"""Segments of translated pages, with how much of each page was aligned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from training.corpus.markdown.align import Aligned, align
from training.corpus.markdown.blocks import blocks
from training.corpus.markdown.comments import commented, pairs_of
from training.corpus.reading import Page, Reading
from training.corpus.segment import Segment
from training.corpus.whole_file import read_text_of

# The largest real ones have a third of it; a page of nothing but marks takes hundreds of times
# its size in memory.
_MOST_BYTES: Final = 2**20
# Of a path, so much tells pages of one name apart (concepts/pods/_index.md).
_PARTS: Final = 3


def read_pages(source: Path, target: Path, how: Reading) -> Iterator[Segment]:
    """Yield what a page and its translation have in common. Raises DataInvalid."""
    ours, theirs = (blocks(read_text_of(path, most=_MOST_BYTES)) for path in (source, target))
    aligned = align(ours, theirs)
    how.pages.append(Page(str(target), sum(block.is_spoken for block in ours), len(aligned)))
    yield from _segments(aligned, target)


def read_commented(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the pairs of a page that holds its original in comments. Raises DataInvalid."""
    parts = list(commented(blocks(read_text_of(path, most=_MOST_BYTES))))
    aligned = list(pairs_of(parts))
    spoken = sum(block.is_spoken for part in parts for block in part.originals)
    how.pages.append(Page(str(path), spoken, len(aligned)))
    yield from _segments(aligned, path)


def _segments(aligned: Iterable[Aligned], path: Path) -> Iterator[Segment]:
    # Not the whole path: a split by documents must not depend on where the tree lies.
    document = "/".join(path.parts[-_PARTS:])
    for pair in aligned:
        yield Segment(pair.source.text, pair.target.text, document, str(path), pair.target.line)
