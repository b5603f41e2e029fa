"""Two text files whose lines belong together, one a language (Moses, OPUS)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from adapters.errors import DataInvalid
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment


def read_moses(source: Path, target: Path, how: Reading) -> Iterator[Segment]:
    """Yield the lines of both files in pairs. Raises DataInvalid if one has fewer."""
    for ours, theirs in zip_longest(*(numbered_lines(path, how) for path in (source, target))):
        if ours is None or theirs is None:
            longer, shorter = (target, source) if ours is None else (source, target)
            number = (ours or theirs or (0, ""))[0]
            how.found_bad(
                DataInvalid(
                    f"{shorter}:{number}: the file ends, and {longer} goes on; a line is missing "
                    "somewhere before, so the pairs may be shifted"
                )
            )
            return
        yield Segment(ours[1], theirs[1], target.name, str(target), ours[0])
