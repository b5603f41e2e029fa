"""A small good file of every format, as real tools write it, for tests that break it."""

from __future__ import annotations

import io
import json
import plistlib
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import openpyxl

from adapters.ids import LanguagePair
from training.corpus.reading import Reading
from training.corpus.source import Source

EN_FR: Final = LanguagePair("en", "fr")

_PO: Final = r"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\n"

#: src/menu.ts:4
msgctxt "menu"
msgid "Save"
msgstr "Enregistrer"

msgid "%1 file"
msgid_plural "%1 files"
msgstr[0] "%1 fichier"
msgstr[1] "%1 fichiers"
"""
_TMX: Final = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><prop type="x-document">menu.html</prop>
<tuv xml:lang="en-US"><seg>Save <bpt i="1">&lt;b&gt;</bpt>
all<ept i="1">&lt;/b&gt;</ept></seg></tuv>
<tuv xml:lang="fr"><seg>Tout <ph x="1">{0}</ph></seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Open</seg></tuv><tuv xml:lang="fr"><seg>Ouvrir</seg></tuv></tu>
</body></tmx>
"""
_XLIFF: Final = """<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="app.html" source-language="en" target-language="fr"><body>
<trans-unit id="1"><source>Hi <x id="n" equiv-text="{{ name }}"/><g id="b">!</g></source>
<target state="final">Salut <x id="n" equiv-text="{{ name }}"/><g id="b"> !</g></target>
</trans-unit>
<trans-unit id="2"><source>Open</source><target>Ouvrir</target></trans-unit>
</body></file></xliff>
"""
_XLIFF_2: Final = """<xliff version="2.0" srcLang="en" trgLang="fr"
 xmlns="urn:oasis:names:tc:xliff:document:2.0"><file id="f"><unit id="1">
<segment state="final"><source>A <pc id="1">b</pc><cp hex="0007"/></source>
<target>C <pc id="1">d</pc><mrk id="m" type="term">e</mrk></target></segment></unit></file></xliff>
"""
_ANDROID: Final = r"""<resources xmlns:xliff="urn:oasis:names:tc:xliff:document:1.2">
  <string name="bold">It\'s <b>bold</b>\n "two  spaces"</string>
  <string name="id"><xliff:g id="n">%1$d</xliff:g> left</string>
  <plurals name="files"><item quantity="one">%d file</item></plurals>
</resources>
"""
_APPLE: Final = r"""/* a comment */
"Hi \"%@\"" = "Salut \"%@\"\n";
// line
bare = "\U00e9";
"""
_PLIST: Final = {"Hi": "Salut", "count": 3, "list": ["a"], "data": b"x"}
_PROPERTIES: Final = "# comment\na.b = one \\\n    two\nk\\ ey:v\\u00e9\nplain word\n"
_SRT: Final = """1
00:00:01,000 --> 00:00:03,000
<i>Hello</i>
there

2
00:00:03,500 --> 00:00:06,000
How are you?
"""
_COMMENTED: Final = """---
title: Pod
---
<!--
title: Pod of whales
-->
<!-- body -->
<!--
## Classes

* One `kubelet`.
-->
## Genres {#classes}

* Un `kubelet`.

| a | b |
|---|---|
| 1 | {{< note >}} |
"""
_UNIT: Final = {"stringUnit": {"state": "translated", "value": "Enregistrer"}}
_XCSTRINGS: Final = {
    "sourceLanguage": "en",
    "strings": {
        "Save": {"localizations": {"fr": _UNIT}},
        "n": {"localizations": {"fr": {"variations": {"plural": {"one": _UNIT, "other": _UNIT}}}}},
    },
}
_ROWS: Final = (
    {"source": "Save", "target": "Enregistrer", "doc": "menu"},
    {"translation": {"en": "Open", "fr": "Ouvrir"}},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"source": "a", "chosen": "b", "rejected": "c"},
)


def workbook(*rows: tuple[str | int | None, ...]) -> bytes:
    """Return a workbook of one sheet with `rows`."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def compiled(texts: Mapping[str, str]) -> bytes:
    """Return a .mo catalogue, little-endian, without a hash table."""
    ids, strings = ([text.encode() for text in side] for side in (texts.keys(), texts.values()))
    start = 28 + 16 * len(texts)
    tables, body = [], b""
    for side in (ids, strings):
        for text in side:
            tables += [len(text), start + len(body)]
            body += text + b"\0"
    head = (0x950412DE, 0, len(texts), 28, 28 + 8 * len(texts), 0, 0)
    return struct.pack(f"<{7 + len(tables)}I", *head, *tables) + body


# Kind of source: suffix, and what its file holds (of two files, that of the targets).
GOOD: Final[Mapping[str, tuple[str, bytes]]] = MappingProxyType(
    {
        "gettext": (".po", _PO.encode()),
        "gettext compiled": (".mo", compiled({"": "Content-Type: text/plain", "Save": "Garder"})),
        "tmx": (".tmx", _TMX.encode()),
        "xliff": (".xlf", _XLIFF.encode()),
        "xliff 2": (".xliff", _XLIFF_2.encode()),
        "jsonl": (".jsonl", "\n".join(json.dumps(row) for row in _ROWS).encode()),
        "tsv": (".tsv", b"source\ttarget\nSave\tEnregistrer\nOpen\tOuvrir\n"),
        "csv": (".csv", b'source,target\n"Save, all","Tout\nenregistrer"\nOpen,Ouvrir\n'),
        "xlsx": (".xlsx", workbook(("source", "target"), ("Save", "Enregistrer"), (3, None))),
        "xcstrings": (".xcstrings", json.dumps(_XCSTRINGS).encode()),
        "commented": (".md", _COMMENTED.encode()),
        "markdown": (".md", _COMMENTED.encode()),
        "moses": (".txt", "Save\nOpen\n\nÀ bientôt\n".encode()),
        "subtitles": (".srt", _SRT.encode()),
        "android": (".xml", _ANDROID.encode()),
        "apple": (".strings", _APPLE.encode()),
        "apple xml": (".strings", plistlib.dumps(_PLIST)),
        "apple binary": (".strings", plistlib.dumps(_PLIST, fmt=plistlib.FMT_BINARY)),
        "locale_json": (".json", b'{"menu": {"save": "Save", "list": ["a"]}, "@menu": {}}'),
        "properties": (".properties", _PROPERTIES.encode()),
        "text": (".txt", b"One.\ntwo\n\nThree.\n"),
    }
)


def source_of(kind: str, folder: Path, data: bytes) -> Source:
    """Return a source of `kind` whose file, or target file, in `folder` holds `data`."""
    suffix, good = GOOD[kind]
    field = kind.partition(" ")[0]
    (folder / f"fr{suffix}").write_bytes(data)
    (folder / f"en{suffix}").write_bytes(good)
    keys: dict[str, object] = {"licence": "CC0-1.0"}
    if field == "text":
        keys["language"] = "fr"
    paired = {"markdown", "moses", "subtitles", "android", "apple", "locale_json", "properties"}
    keys[field] = f"{{language}}{suffix}" if field in paired else f"fr{suffix}"
    return Source.model_validate(keys)


def read(one: Source, folder: Path, how: Reading) -> list[tuple[str, str]]:
    """Return the texts of a source in `folder`."""
    segments = one.read(one.places(folder, [EN_FR]), [EN_FR], how)
    return [(segment.source, segment.target) for segment in segments]
