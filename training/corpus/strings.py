"""Interface strings by key: two files of one application, paired by what their keys share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.corpus.segment import Segment

# Formats write a character by its number with a small or a large U.
_ESCAPE: Final = re.compile(r"\\(?:[uU]([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_PLAIN: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class String:
    """One text of a file in one language, under its key; `line` is 0 where a format tells none."""

    key: str
    text: str
    line: int = 0


def paired(sources: Iterable[String], targets: Iterable[String], path: Path) -> Iterator[Segment]:
    """Yield the pairs of strings whose key both files have, in the order of the targets' file.

    `path` is the targets' file. Of a key that comes twice the last text counts, as it does for
    the application. Plurals: a form that only the target has is left out.
    """
    texts = {string.key: string.text for string in sources}
    last = {string.key: string for string in targets}
    for key, string in last.items():
        if (source := texts.get(key)) is not None:
            yield Segment(source, string.text, path.name, str(path), string.line)


def unescaped(text: str) -> str:
    """Return `text` with its backslash escapes resolved, pairs of surrogates as one character."""
    plain = _ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _PLAIN.get(match[2], match[2]), text
    )
    if _SURROGATE.search(plain) is None:
        return plain
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
