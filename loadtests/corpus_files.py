"""Pairs of sentences, made from a seed, in the formats that loadtests.bench_corpus reads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TextIO
from xml.sax.saxutils import escape

_ENGLISH: Final = (
    "the", "of", "to", "in", "is", "that", "it", "for", "on", "with", "as", "this", "have", "from",
    "file", "window", "server", "option", "value", "network", "button", "setting", "language",
)  # fmt: skip
_FRENCH: Final = (
    "le", "de", "un", "en", "est", "que", "il", "pour", "sur", "avec", "comme", "cette", "depuis",
    "fichier", "fenêtre", "serveur", "option", "valeur", "réseau", "bouton", "réglage", "langue",
)  # fmt: skip
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Format:
    """Where a recipe's source finds the files, and how they are written."""

    where: str
    write: Callable[[Path, Iterator[Pair]], list[Path]]


def made_pairs(count: int) -> Iterator[Pair]:
    """Yield `count` pairs of 3 to 25 words, each with a number of its own; one in ten is tagged."""
    made = random.Random(0)
    for number in range(count):
        length = made.randint(3, 25)
        texts = (" ".join(made.choices(words, k=length)) for words in (_ENGLISH, _FRENCH))
        source, target = (f"{text.capitalize()} {number}." for text in texts)
        yield (f"<b>{source}</b>", f"<b>{target}</b>") if number % 10 == 0 else (source, target)


def write_pairs(name: str, folder: Path, count: int) -> list[Path]:
    """Write `count` pairs in format `name` to `folder`; return the files."""
    return FORMATS[name].write(folder, made_pairs(count))


def _lines(name: str, line: Callable[[Pair], str], head: str = "", end: str = "") -> Format:
    def write(folder: Path, pairs: Iterator[Pair]) -> list[Path]:
        path = folder / name
        with path.open("w", encoding="utf-8") as file:
            file.write(head)
            file.writelines(f"{line(pair)}\n" for pair in pairs)
            file.write(end)
        return [path]

    return Format(name, write)


def _two(name: str, line: Callable[[int, str], str], head: str = "", end: str = "") -> Format:
    def write(folder: Path, pairs: Iterator[Pair]) -> list[Path]:
        paths = [folder / name.replace("{language}", language) for language in ("en", "fr")]
        with paths[0].open("w", encoding="utf-8") as ours, paths[1].open("w") as theirs:
            files: tuple[TextIO, TextIO] = (ours, theirs)
            for file in files:
                file.write(head)
            for number, pair in enumerate(pairs):
                for file, text in zip(files, pair, strict=True):
                    file.write(line(number, text))
            for file in files:
                file.write(end)
        return paths

    return Format(name, write)


def _workbook(folder: Path, pairs: Iterator[Pair]) -> list[Path]:
    from openpyxl import Workbook

    book, path = Workbook(write_only=True), folder / "a.xlsx"
    sheet = book.create_sheet()
    sheet.append(("source", "target"))
    for pair in pairs:
        sheet.append(pair)
    book.save(path)
    return [path]


def _tmx(pair: Pair) -> str:
    source, target = (_coded(text) for text in pair)
    return (
        f'<tu><tuv xml:lang="en-US"><seg>{source}</seg></tuv>'
        f'<tuv xml:lang="fr"><seg>{target}</seg></tuv></tu>'
    )


def _coded(text: str) -> str:
    inner = escape(text.removeprefix("<b>").removesuffix("</b>"))
    if not text.startswith("<b>"):
        return inner
    return f'<bpt i="1">&lt;b&gt;</bpt>{inner}<ept i="1">&lt;/b&gt;</ept>'


def _xliff(pair: Pair) -> str:
    source, target = map(escape, pair)
    return f'<trans-unit id="1"><source>{source}</source><target>{target}</target></trans-unit>'


def _quoted(text: object) -> str:
    return json.dumps(text, ensure_ascii=False)


_XLIFF_HEAD: Final = (
    '<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">'
    '<file original="a" source-language="en" target-language="fr"><body>\n'
)
FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "tmx": _lines("a.tmx", _tmx, '<tmx version="1.4"><body>\n', "</body></tmx>\n"),
        "xliff": _lines("a.xlf", _xliff, _XLIFF_HEAD, "</body></file></xliff>\n"),
        "jsonl": _lines("a.jsonl", lambda pair: _quoted({"en": pair[0], "fr": pair[1]})),
        "tsv": _lines("a.tsv", "\t".join),
        "csv": _lines("a.csv", lambda pair: f'"{pair[0]}","{pair[1]}"', "source,target\n"),
        "gettext": _lines(
            "a.po", lambda pair: f"msgid {_quoted(pair[0])}\nmsgstr {_quoted(pair[1])}\n"
        ),
        "xlsx": Format("a.xlsx", _workbook),
        "moses": _two("a.{language}.txt", lambda _, text: f"{text}\n"),
        "properties": _two("a.{language}.properties", lambda key, text: f"key{key}={text}\n"),
        "locale_json": _two(
            "a.{language}.json",
            lambda key, text: f'{"," if key else ""}"key{key}": {_quoted(text)}\n', "{", "}",
        ),
        "android": _two(
            "a.{language}.xml",
            lambda key, text: f'<string name="key{key}">{escape(text)}</string>\n',
            "<resources>\n", "</resources>\n",
        ),
    }
)  # fmt: skip
