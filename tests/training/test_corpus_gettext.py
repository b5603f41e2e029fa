from __future__ import annotations

import importlib
import sys
from pathlib import Path

import polib
import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.catalogues import find_catalogues
from training.corpus.gettext import read_gettext
from training.corpus.reading import Reading
from training.corpus.source import Source, digest_of

HOW = Reading(LanguagePair("en", "fr"))
FRENCH = "nplurals=2; plural=(n > 1);"
BODY = """
msgid "Save"
msgstr "Enregistrer"

#: src/menu.ts:4 src/other.ts:9
msgctxt "menu"
msgid "Open"
msgstr "Ouvrir"

#, fuzzy
msgid "Close"
msgstr "Femer"

msgid "Untranslated"
msgstr ""

#~ msgid "Old"
#~ msgstr "Vieux"
"""
PLURAL = """
msgid "%1 file"
msgid_plural "%1 files"
"""


def catalogue(path: Path, body: str, *, plural_forms: str = FRENCH) -> Path:
    header = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        f'"Plural-Forms: {plural_forms}\\n"\n'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".po").write_text(header + body, encoding="utf-8")
    if path.suffix == ".mo":
        polib.pofile(str(path.with_suffix(".po"))).save_as_mofile(str(path))
        path.with_suffix(".po").unlink()
    return path


def pairs(path: Path) -> list[tuple[str, str]]:
    return [(segment.source, segment.target) for segment in read_gettext(path, HOW)]


@pytest.mark.parametrize("name", ["a.po", "a.mo"])
def test_only_translated_messages_are_read(tmp_path: Path, name: str) -> None:
    found = pairs(catalogue(tmp_path / name, BODY))
    assert sorted(found) == [("Open", "Ouvrir"), ("Save", "Enregistrer")]


def test_a_document_is_the_referring_file_or_the_context(tmp_path: Path) -> None:
    from_po = {s.source: s.document for s in read_gettext(catalogue(tmp_path / "a.po", BODY), HOW)}
    from_mo = {s.source: s.document for s in read_gettext(catalogue(tmp_path / "a.mo", BODY), HOW)}
    assert from_po == {"Save": "a", "Open": "src/menu.ts"}
    assert from_mo == {"Save": "a", "Open": "a#menu"}


def test_a_po_segment_knows_its_line(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", BODY)
    lines = path.read_text(encoding="utf-8").splitlines()
    for segment in read_gettext(path, HOW):
        assert any(segment.source in line for line in lines[segment.line - 1 : segment.line + 3])


@pytest.mark.parametrize(
    ("plural_forms", "forms", "expected"),
    [
        (FRENCH, ["un", "des"], ["un", "des"]),
        ("nplurals=1; plural=0;", ["seul"], ["seul", "seul"]),
        (
            "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 ? 1 : 2);",
            ["one", "few", "many"],
            ["one", "many"],
        ),
        (
            "nplurals=6; plural=(n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : 4);",
            ["zero", "one", "two", "few", "many", "other"],
            ["one", "few"],
        ),
    ],
)
@pytest.mark.parametrize("name", ["a.po", "a.mo"])
def test_each_plural_goes_with_the_form_of_its_number(
    tmp_path: Path, name: str, plural_forms: str, forms: list[str], expected: list[str]
) -> None:
    body = PLURAL + "".join(f'msgstr[{n}] "{form}"\n' for n, form in enumerate(forms))
    found = pairs(catalogue(tmp_path / name, body, plural_forms=plural_forms))
    assert found == list(zip(["%1 file", "%1 files"], expected, strict=False))


def test_an_untranslated_plural_form_is_left_out(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", PLURAL + 'msgstr[0] "ein"\nmsgstr[1] ""\n')
    assert pairs(path) == [("%1 file", "ein")]


def test_a_plural_header_that_is_no_formula_is_refused(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", BODY, plural_forms="nplurals=2; plural=import_os;")
    with pytest.raises(DataInvalid, match="Plural-Forms"):
        pairs(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.po", b'msgid "a"\nmsgstr "b\nmsgid'),
        ("a.mo", b"not a catalogue at all"),
        ("a.mo", b""),
        ("a.mo", b"\xde\x12\x04\x95\0\0\0\0\xff\xff\0\0\x1c\0\0\0\x1c\0\0\0"),
        ("a.po", b'msgid "a"\nmsgstr "\xff"\n'),
    ],
)
def test_a_broken_catalogue_is_told_with_its_path(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataInvalid, match=name):
        pairs(path)


def test_a_po_file_is_preferred_to_its_mo_file(tmp_path: Path) -> None:
    catalogue(tmp_path / "a.mo", BODY)
    po = catalogue(tmp_path / "a.po", BODY)
    mo = catalogue(tmp_path / "b.mo", BODY)
    assert find_catalogues(str(tmp_path), tmp_path, language="fr") == [po, mo]


@pytest.mark.parametrize(
    ("language", "locales"), [("fr", ["fr", "fr_CA"]), ("zh_hans", ["zh_CN"]), ("pt_br", ["pt_BR"])]
)
def test_of_many_locales_only_the_language_is_read(
    tmp_path: Path, language: str, locales: list[str]
) -> None:
    for locale in ("de", "fr", "fr_CA", "zh_CN", "zh_TW", "pt", "pt_BR"):
        catalogue(tmp_path / locale / "LC_MESSAGES" / "a.mo", BODY)
    found = find_catalogues(str(tmp_path), tmp_path, language=language)
    assert [path.parent.parent.name for path in found] == locales


def test_a_missing_language_names_those_that_are_there(tmp_path: Path) -> None:
    for locale in ("de", "fr"):
        catalogue(tmp_path / locale / "LC_MESSAGES" / "a.mo", BODY)
    with pytest.raises(DataInvalid, match="found de, fr"):
        find_catalogues(str(tmp_path), tmp_path, language="it")


@pytest.mark.parametrize(
    ("where", "hint"), [("no/such", "no such file"), ("nosuchpack", "pip install")]
)
def test_a_source_that_is_nowhere_says_what_to_do(tmp_path: Path, where: str, hint: str) -> None:
    with pytest.raises(DataInvalid, match=hint):
        find_catalogues(where, tmp_path, language="fr")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pip package whose import would fail."""
    root = tmp_path / "site"
    catalogue(root / "made_up_pack" / "locale" / "fr_FR" / "LC_MESSAGES" / "a.mo", BODY)
    (root / "made_up_pack" / "__init__.py").write_text("raise AssertionError('imported')")
    info = root / "made_up_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-pack\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "made_up_pack/__init__.py,,\nmade_up_pack/locale/fr_FR/LC_MESSAGES/a.mo,,\n"
    )
    monkeypatch.syspath_prepend(str(root))
    importlib.invalidate_caches()
    return "made-up-pack"


@pytest.mark.parametrize("without_metadata", [False, True])
def test_a_package_is_read_without_being_imported(
    package: str, tmp_path: Path, *, without_metadata: bool
) -> None:
    name = package
    if without_metadata:
        for file in (tmp_path / "site" / "made_up_pack-1.0.dist-info").iterdir():
            file.unlink()
        (tmp_path / "site" / "made_up_pack-1.0.dist-info").rmdir()
        name = "made_up_pack"
    (found,) = find_catalogues(name, tmp_path, language="fr")
    assert found.name == "a.mo"
    assert "made_up_pack" not in sys.modules


def test_a_reversed_source_swaps_its_texts(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", BODY)
    source = Source(gettext=str(path), licence="MIT", pair=LanguagePair("en", "fr"))
    pair = LanguagePair("fr", "en")
    places = source.places(tmp_path, [pair])
    found = source.read(places, [pair], source.reading([pair]))
    assert ("Enregistrer", "Save") in [(s.source, s.target) for s in found]


def test_the_digest_of_a_source_is_of_its_content(tmp_path: Path) -> None:
    first = catalogue(tmp_path / "one" / "a.po", BODY)
    second = catalogue(tmp_path / "two" / "a.po", BODY)
    assert digest_of([first]) == digest_of([second])
    second.write_text("changed", encoding="utf-8")
    assert digest_of([first]) != digest_of([second])


def test_a_formula_that_divides_by_zero_is_refused(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", BODY, plural_forms="nplurals=2; plural=1/(n-5);")
    with pytest.raises(DataInvalid, match="Plural-Forms"):
        pairs(path)


def test_a_message_without_end_is_told_with_its_line(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.po", '\nmsgid "a"\nmsgstr ""\n' + '"b"\n' * 1001)
    with pytest.raises(DataInvalid, match=r"a.po:1008: expected a message of at most 1000 lines"):
        pairs(path)
