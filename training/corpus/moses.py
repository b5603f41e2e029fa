"""Two text files whose lines belong together, one a language (Moses, OPUS)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.errors import DataInvalid
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment


def read_moses(source: Path, target: Path, how: Reading) -> Iterator[Segment]:
    """Yield the lines of both files in pairs. Raises DataInvalid if one has fewer.

    A line that is bad on one side is left out on both.
    """
    sources, targets = (numbered_lines(path, how) for path in (source, target))
    ours, theirs = next(sources, None), next(targets, None)
    while ours is not None and theirs is not None:
        number = max(ours[0], theirs[0])
        if ours[0] == theirs[0]:
            yield Segment(ours[1], theirs[1], target.name, str(target), number)
            number += 1
        ours = next(sources, None) if ours[0] < number else ours
        theirs = next(targets, None) if theirs[0] < number else theirs
    if ours is not None or theirs is not None:
        longer, shorter = (target, source) if ours is None else (source, target)
        number = (ours or theirs or (0, ""))[0]
        how.found_bad(
            DataInvalid(
                f"{shorter}:{number}: the file ends, and {longer} goes on; a line is missing "
                "somewhere before, so the pairs may be shifted"
            )
        )
