"""Tab-separated text: source, target, and a document where a header names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment

_DOCUMENT = "doc"


def read_tsv(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the pairs of `path`; blank lines are skipped. Raises DataInvalid with path:line.

    A first line of `source`/`target` (or the pair's language codes) is a header. Quotes are
    text: nothing is unquoted, so a column holds no tab and no line break.
    """
    columns = ["source", "target"]
    for number, line in numbered_lines(path, how):
        if not line.strip(" "):
            continue
        cells = line.split("\t")
        if number == 1 and (header := _header(cells, how.pair)):
            columns = header
            continue
        if len(cells) != len(columns):
            mend = "a tab is missing" if len(cells) < len(columns) else "remove the other tabs"
            how.found_bad(
                DataInvalid(
                    f"{path}:{number}: expected {len(columns)} columns ({', '.join(columns)}) "
                    f"separated by tabs, found {len(cells)}; {mend}"
                )
            )
            continue
        row = dict(zip(columns, cells, strict=True))
        document = row.get(_DOCUMENT) or path.name
        yield Segment(row["source"], row["target"], document, str(path), number)


def _header(cells: list[str], pair: LanguagePair) -> list[str] | None:
    names = [cell.strip().lower().replace("-", "_") for cell in cells]
    renamed = {pair.source: "source", pair.target: "target"}
    columns = [renamed.get(name, name) for name in names]
    if {"source", "target"} <= set(columns) and len(set(columns)) == len(columns):
        return columns
    return None
