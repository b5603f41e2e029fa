"""The formats of parallel text: how their files are found and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.corpus.android import read_android
from training.corpus.apple import read_strings, read_xcstrings
from training.corpus.gettext import read_gettext
from training.corpus.jsonl import read_jsonl
from training.corpus.locale_json import read_locale_json
from training.corpus.markdown.pages import read_commented, read_pages
from training.corpus.moses import read_moses
from training.corpus.properties import read_properties
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.spreadsheet import read_csv, read_xlsx
from training.corpus.strings import String, paired
from training.corpus.subtitles import read_subtitles
from training.corpus.tmx import read_tmx
from training.corpus.tsv import read_tsv
from training.corpus.xliff import read_xliff

_MARKDOWN: Final = (".md", ".mdx", ".markdown")


@dataclass(frozen=True, slots=True)
class Single:
    """Files that hold both languages."""

    read: Callable[[Path, Reading], Iterator[Segment]]
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Double:
    """Files of one language each: that of the source and that of the target."""

    read: Callable[[Path, Path, Reading], Iterator[Segment]]
    suffixes: tuple[str, ...]


def _strings(read: Callable[[Path, Reading], Iterator[String]], *suffixes: str) -> Double:
    def both(source: Path, target: Path, how: Reading) -> Iterator[Segment]:
        return paired(read(source, how), read(target, how), target)

    return Double(both, suffixes)


FORMATS: Final = MappingProxyType[str, Single | Double](
    {
        "gettext": Single(read_gettext, (".po", ".mo")),
        "tmx": Single(read_tmx, (".tmx",)),
        "xliff": Single(read_xliff, (".xlf", ".xliff")),
        "jsonl": Single(read_jsonl, (".jsonl", ".ndjson")),
        "tsv": Single(read_tsv, (".tsv", ".tab")),
        "csv": Single(read_csv, (".csv",)),
        "xlsx": Single(read_xlsx, (".xlsx",)),
        "xcstrings": Single(read_xcstrings, (".xcstrings",)),
        "commented": Single(read_commented, _MARKDOWN),
        "markdown": Double(read_pages, _MARKDOWN),
        "moses": Double(read_moses, (".txt",)),
        "subtitles": Double(read_subtitles, (".srt", ".vtt")),
        "android": _strings(read_android, ".xml"),
        "apple": _strings(read_strings, ".strings"),
        "locale_json": _strings(read_locale_json, ".json", ".arb"),
        "properties": _strings(read_properties, ".properties"),
    }
)
