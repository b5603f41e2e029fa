"""Files that another tool wrote (translate-toolkit, an oracle of the tests only) are read back."""

from __future__ import annotations

import csv
import gettext
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from lxml import etree
from translate.storage import (
    aresource,
    csvl10n,
    jsonl10n,
    mo,
    poxliff,
    properties,
    pypo,
    tmx,
    xliff,
    xliff2,
)

from adapters.ids import LanguagePair
from training.corpus.catalogues import find_catalogues
from training.corpus.gettext import read_gettext
from training.corpus.jsonl import read_jsonl
from training.corpus.reading import Reading
from training.corpus.source import Source
from training.corpus.spreadsheet import read_csv, read_xlsx
from training.corpus.tmx import read_tmx
from training.corpus.xliff import read_xliff

EN_FR = LanguagePair("en", "fr")
XML = "http://www.w3.org/XML/1998/namespace"
# What breaks readers: quotes, escapes, entities, placeholders, other writings, line breaks.
PAIRS = [
    ("Save", "Enregistrer"),
    ('Say "hi" & <go>', "Dites « salut » & <allez>"),
    ("It's 100% of %1$s", "C'est 100 % de %1$s"),
    ("one\ntwo", "un\ndeux"),
    ("tab\tand back\\slash", "tab\tet barre\\oblique"),
    ("emoji 🎉", "中文 и кириллица"),
    ("{name} has {{count}}", "{name} a {{count}}"),
    ("a = b: c # d ! e", "a = b : c # d ! e"),
]


def test_tmx(tmp_path: Path) -> None:
    store = tmx.tmxfile()
    for source, target in PAIRS:
        store.addtranslation(source, "en", target, "fr")
    path = tmp_path / "a.tmx"
    path.write_bytes(bytes(store))
    assert [(s.source, s.target) for s in read_tmx(path, Reading(EN_FR))] == PAIRS


@pytest.mark.parametrize("kind", [xliff.xlifffile, poxliff.PoXliffFile, xliff2.Xliff2File])
def test_xliff(tmp_path: Path, kind: Any) -> None:
    store = kind(sourcelanguage="en", targetlanguage="fr")
    for source, target in PAIRS:
        unit = store.addsourceunit(source)
        unit.target = target
    path = tmp_path / "a.xlf"
    path.write_bytes(bytes(store))
    assert [(s.source, s.target) for s in read_xliff(path, Reading(EN_FR))] == PAIRS


STORES: dict[str, tuple[str, Callable[[], Any], str]] = {
    "android": ("android", aresource.AndroidResourceFile, ".xml"),
    "apple": ("apple", properties.stringsfile, ".strings"),
    "apple in UTF-8": ("apple", properties.stringsutf8file, ".strings"),
    "json": ("locale_json", jsonl10n.JsonFile, ".json"),
    "i18next": ("locale_json", jsonl10n.I18NextV4File, ".json"),
    "arb": ("locale_json", jsonl10n.ARBJsonFile, ".arb"),
    "properties": ("properties", properties.javautf8file, ".properties"),
    "old properties": ("properties", properties.javafile, ".properties"),
}


def unit_of(store: Any, key: str) -> Any:
    """Return a new unit; those of properties are of one of the formats that look like them."""
    dialect = getattr(store, "personality", None)
    return store.UnitClass(key, **({"personality": dialect.name} if dialect else {}))


@pytest.mark.parametrize("name", STORES)
def test_locale_files(tmp_path: Path, name: str) -> None:
    kind, make, suffix = STORES[name]
    # For an emoji the toolkit writes five digits after \\u, which Java reads as four and a digit.
    pairs = [pair for pair in PAIRS if name != "old properties" or "🎉" not in pair[0]]
    for language, side in (("en", 0), ("fr", 1)):
        store = make()
        for number, texts in enumerate(pairs):
            unit = unit_of(store, f"key{number}")
            unit.setid(f"key{number}")
            unit.target = texts[side]
            store.addunit(unit)
        (tmp_path / f"{language}{suffix}").write_bytes(bytes(store))
    one = Source.model_validate({kind: f"{{language}}{suffix}", "licence": "CC0-1.0"})
    places = one.places(tmp_path, [EN_FR])
    found = one.read(places, [EN_FR], one.reading([EN_FR]))
    assert [(s.source, s.target) for s in found] == pairs


@pytest.mark.parametrize("name", ["a.po", "a.mo"])
def test_gettext(tmp_path: Path, name: str) -> None:
    store: Any = pypo.pofile() if name.endswith("po") else mo.mofile()
    store.updateheader(add=True, Content_Type="text/plain; charset=UTF-8")
    for source, target in PAIRS:
        unit = store.addsourceunit(source)
        unit.target = target
    path = tmp_path / name
    path.write_bytes(bytes(store))
    found = [(s.source, s.target) for s in read_gettext(path, Reading(EN_FR))]
    assert sorted(found) == sorted(PAIRS)


def test_csv_of_the_toolkit(tmp_path: Path) -> None:
    store = csvl10n.csvfile(fieldnames=["location", "source", "target"])
    for source, target in PAIRS:
        unit = store.addsourceunit(source)
        unit.target = target
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(store))
    found = [(s.source, s.target) for s in read_csv(path, Reading(EN_FR))]
    # The toolkit doubles backslashes, which no spreadsheet does.
    assert [(s.replace("\\\\", "\\"), t.replace("\\\\", "\\")) for s, t in found] == PAIRS


@pytest.mark.parametrize("dialect", ["excel", "unix", "semicolons"])
def test_csv_of_the_standard_library(tmp_path: Path, dialect: str) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        chosen: Any = "excel" if dialect == "semicolons" else dialect
        writer = csv.writer(file, chosen, delimiter=";" if dialect == "semicolons" else ",")
        writer.writerows([("en", "fr"), *PAIRS])
    assert [(s.source, s.target) for s in read_csv(path, Reading(EN_FR))] == PAIRS


def test_xlsx_of_openpyxl(tmp_path: Path) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (("en", "fr"), *PAIRS):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    found = read_xlsx(tmp_path / "a.xlsx", Reading(EN_FR))
    assert [(s.source, s.target) for s in found] == PAIRS


@pytest.mark.parametrize("escaped", [True, False])
def test_jsonl_of_the_standard_library(tmp_path: Path, escaped: bool) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"translation": {"en": source, "fr": target}} for source, target in PAIRS]
    lines = (json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    assert [(s.source, s.target) for s in read_jsonl(path, Reading(EN_FR))] == PAIRS


def test_a_tmx_that_lxml_wrote(tmp_path: Path) -> None:
    root = etree.Element("tmx", version="1.4")
    body = etree.SubElement(root, "body")
    for pair in PAIRS:
        unit = etree.SubElement(body, "tu")
        for language, text in zip(("EN-gb", "fr-FR"), pair, strict=True):
            variant = etree.SubElement(unit, "tuv", {f"{{{XML}}}lang": language})
            etree.SubElement(variant, "seg").text = text
    path = tmp_path / "a.tmx"
    for encoding in ("utf-8", "utf-16", "us-ascii"):
        etree.ElementTree(root).write(str(path), encoding=encoding, xml_declaration=True)
        assert [(s.source, s.target) for s in read_tmx(path, Reading(EN_FR))] == PAIRS


@pytest.mark.parametrize(("tag", "code"), [("fr-FR", "fr"), ("de-DE", "de")])
def test_the_files_of_a_real_package_read_as_gettext_reads_them(tag: str, code: str) -> None:
    name = f"jupyterlab-language-pack-{tag}"
    pytest.importorskip(name.replace("-", "_"))
    files = find_catalogues(name, Path(), language=code)
    same, other = 0, []
    for path in files:
        with path.open("rb") as file:
            known = gettext.GNUTranslations(file)
        for segment in read_gettext(path, Reading(LanguagePair("en", code))):
            context = segment.document.partition("#")[2]
            said = known.gettext(segment.source)
            said = known.pgettext(context, segment.source) if context else said
            same += said == segment.target
            many = known.ngettext(segment.source, segment.source, 5)
            # The English for many has no entry of its own there: it is its own translation.
            other += [] if {said, many} & {segment.target, segment.source} else [segment]
    assert len(files) >= 15
    assert same > 1000
    assert other == []
