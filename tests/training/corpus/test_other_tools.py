"""Files that another tool wrote (translate-toolkit, an oracle of the tests only) are read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from translate.storage import aresource, jsonl10n, poxliff, properties, tmx, xliff

from adapters.ids import LanguagePair
from training.corpus.reading import Reading
from training.corpus.source import Source
from training.corpus.tmx import read_tmx
from training.corpus.xliff import read_xliff

EN_FR = LanguagePair("en", "fr")
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


@pytest.mark.parametrize("kind", [xliff.xlifffile, poxliff.PoXliffFile])
def test_xliff(tmp_path: Path, kind: Any) -> None:
    store = kind(sourcelanguage="en", targetlanguage="fr")
    for source, target in PAIRS:
        unit = store.addsourceunit(source)
        unit.target = target
    path = tmp_path / "a.xlf"
    path.write_bytes(bytes(store))
    assert [(s.source, s.target) for s in read_xliff(path, Reading(EN_FR))] == PAIRS


STORES: dict[str, tuple[Callable[[], Any], str]] = {
    "android": (aresource.AndroidResourceFile, ".xml"),
    "apple": (properties.stringsfile, ".strings"),
    "locale_json": (jsonl10n.JsonFile, ".json"),
    "properties": (properties.javautf8file, ".properties"),
}


def unit_of(store: Any, key: str) -> Any:
    """Return a new unit; those of properties are of one of the formats that look like them."""
    dialect = getattr(store, "personality", None)
    return store.UnitClass(key, **({"personality": dialect.name} if dialect else {}))


@pytest.mark.parametrize("kind", STORES)
def test_locale_files(tmp_path: Path, kind: str) -> None:
    make, suffix = STORES[kind]
    for language, side in (("en", 0), ("fr", 1)):
        store = make()
        for number, texts in enumerate(PAIRS):
            unit = unit_of(store, f"key{number}")
            unit.setid(f"key{number}")
            unit.target = texts[side]
            store.addunit(unit)
        (tmp_path / f"{language}{suffix}").write_bytes(bytes(store))
    one = Source.model_validate({kind: f"{{language}}{suffix}", "licence": "CC0-1.0"})
    places = one.places(tmp_path, [EN_FR])
    found = one.read(places, [EN_FR], one.reading([EN_FR]))
    assert [(s.source, s.target) for s in found] == PAIRS
