"""Files of interface strings, one a language: what the application shows, paired by key."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.android import read_android
from training.corpus.apple import read_strings, read_xcstrings
from training.corpus.locale_json import read_locale_json
from training.corpus.properties import read_properties
from training.corpus.reading import Reading
from training.corpus.strings import String, paired

EN_FR = LanguagePair("en", "fr")
ANDROID = r"""<resources xmlns:xliff="urn:oasis:names:tc:xliff:document:1.2">
  <string name="bold">It\'s <b>bold</b>\n  and   long</string>
  <string name="id"><xliff:g id="n" example="3">%1$d</xliff:g> left</string>
  <string name="quoted">"  two  spaces "</string>
  <string name="code" translatable="false">x</string>
  <string name="other">@string/bold</string>
  <plurals name="files"><item quantity="one">%d file</item>
    <item quantity="other">%d files</item></plurals>
  <string-array name="sizes"><item>Small</item><item>Large</item></string-array>
</resources>"""


def texts(
    read: Callable[[Path, Reading], Iterator[String]], path: Path, *, skip_bad: bool = False
) -> dict[str, str]:
    return {string.key: string.text for string in read(path, Reading(EN_FR, skip_bad=skip_bad))}


def test_android_strings_are_as_the_application_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "strings.xml"
    path.write_text(ANDROID, encoding="utf-8")
    assert texts(read_android, path) == {
        "bold": "It's <b>bold</b>\n and long",
        "id": "%1$d left",
        "quoted": "  two  spaces ",
        "files#one": "%d file",
        "files#other": "%d files",
        "sizes#0": "Small",
        "sizes#1": "Large",
    }


def test_properties_follow_the_rules_of_java(tmp_path: Path) -> None:
    path = tmp_path / "a.properties"
    path.write_bytes(
        b"# comment\n! another\n\n a.b = one \\\n    two\nk\\ ey:v\\u00e9\nplain word\n"
        b"empty=\nparty=\\ud83c\\udf89\ntab\\t=a\\tb\\\\\nurl=http\\://a=b\n"
    )
    assert texts(read_properties, path) == {
        "a.b": "one two", "k ey": "vé", "plain": "word", "empty": "", "party": "🎉",
        "tab\t": "a\tb\\", "url": "http://a=b",
    }  # fmt: skip


def test_old_properties_are_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "a.properties"
    path.write_bytes(b"a=caf\xe9\n")
    assert texts(read_properties, path) == {"a": "café"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_apple_strings_in_both_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.strings"
    path.write_text(
        '/* a "quoted" comment */\n"Hi \\"%@\\"" = "Salut \\"%@\\"\\n";\n// line\nbare="\\U00e9";',
        encoding=encoding,
    )
    assert texts(read_strings, path) == {'Hi "%@"': 'Salut "%@"\n', "bare": "é"}


def test_apple_strings_as_a_property_list(tmp_path: Path) -> None:
    path = tmp_path / "a.strings"
    path.write_bytes(plistlib.dumps({"a": "b", "n": 3}, fmt=plistlib.FMT_BINARY))
    assert texts(read_strings, path) == {"a": "b"}


def test_a_bad_row_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.strings"
    path.write_text('"a" = "b";\n"c" "d";\n"e" = "f";\n"open')
    with pytest.raises(DataInvalid, match=r"a.strings:2: expected"):
        texts(read_strings, path)
    assert texts(read_strings, path, skip_bad=True) == {"a": "b", "e": "f"}
    other = tmp_path / "a.properties"
    other.write_text("a=b\nc=\\u00zz\nd=e\n")
    with pytest.raises(DataInvalid, match=r"a.properties:2: expected four hex digits"):
        texts(read_properties, other)
    assert texts(read_properties, other, skip_bad=True) == {"a": "b", "d": "e"}


def test_string_catalogues_hold_all_languages(tmp_path: Path) -> None:
    def unit(text: str, state: str = "translated") -> dict[str, object]:
        return {"stringUnit": {"state": state, "value": text}}

    files = {name: unit(text) for name, text in (("one", "%d file"), ("other", "%d files"))}
    fichiers = {
        name: unit(text) for name, text in (("one", "%d fichier"), ("other", "%d fichiers"))
    }
    path = tmp_path / "a.xcstrings"
    body = {
        "sourceLanguage": "en",
        "strings": {
            "Save": {"localizations": {"fr": unit("Enregistrer")}},
            "menu.open": {"localizations": {"en": unit("Open"), "fr": unit("Ouvrir")}},
            "Close": {"localizations": {"fr": unit("Fermer", "needs_review")}},
            "New": {},
            "files": {
                "localizations": {
                    "en": {"variations": {"plural": files}},
                    "fr": {"variations": {"plural": fichiers}},
                }
            },
        },
    }
    path.write_text(json.dumps(body))
    found = [(s.source, s.target) for s in read_xcstrings(path, Reading(EN_FR))]
    assert found == [
        ("Save", "Enregistrer"), ("Open", "Ouvrir"),
        ("%d file", "%d fichier"), ("%d files", "%d fichiers"),
    ]  # fmt: skip
    with pytest.raises(DataInvalid, match="expected the sourceLanguage de"):
        list(read_xcstrings(path, Reading(LanguagePair("de", "fr"))))


def test_json_of_i18next_and_arb(tmp_path: Path) -> None:
    path = tmp_path / "en.json"
    path.write_text(
        json.dumps(
            {
                "@@locale": "en",
                "menu": {"save": "Save {{name}}", "items_one": "{{count}} item"},
                "list": ["a", "b"],
                "greeting": "Hello {name}",
                "@greeting": {"description": "not a text"},
                "version": 3,
            }
        )
    )
    assert texts(read_locale_json, path) == {
        "menu.save": "Save {{name}}", "menu.items_one": "{{count}} item", "list.0": "a",
        "list.1": "b", "greeting": "Hello {name}",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": ' * 100_000])
def test_json_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "en.json"
    path.write_text(text)
    with pytest.raises(DataInvalid, match=r"en.json: "):
        texts(read_locale_json, path)


def test_strings_are_paired_by_key_and_the_last_counts(tmp_path: Path) -> None:
    sources = [String("a", "A"), String("b", "B"), String("c", "C")]
    targets = [String("b", "old", 1), String("a", "x", 2), String("b", "y", 3), String("z", "z", 4)]
    found = list(paired(sources, targets, tmp_path / "fr.json"))
    assert [(s.source, s.target, s.line) for s in found] == [("B", "y", 3), ("A", "x", 2)]
    assert {s.document for s in found} == {"fr.json"}


@pytest.mark.parametrize(
    "reference",
    ["@string/ok", "@android:string/ok", "@null", "?attr/title", "?android:attr/title", "?title"],
)
def test_android_references_are_no_texts(tmp_path: Path, reference: str) -> None:
    path = tmp_path / "strings.xml"
    path.write_text(f"<resources><string name='a'>\n {reference} </string></resources>")
    assert texts(read_android, path) == {}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("? for help", "? for help"), ("?", "?"), ("?!", "?!"), (r"\?title", "?title"),
        (r"\@string/ok", "@string/ok"), ("@you: hi", "@you: hi"),
        ("@angular/core", "@angular/core"),
    ],
)  # fmt: skip
def test_android_texts_may_begin_like_references(tmp_path: Path, written: str, shown: str) -> None:
    path = tmp_path / "strings.xml"
    path.write_text(f"<resources><string name='a'>{written}</string></resources>")
    assert texts(read_android, path) == {"a": shown}


def test_android_quotes_after_a_protected_backslash(tmp_path: Path) -> None:
    path = tmp_path / "strings.xml"
    path.write_text(
        r'<resources xmlns:t="t"><string name="a">x\\"  y  " z</string>'
        '<string name="b"><b t:ignore="x" id="1">c</b></string></resources>'
    )
    assert texts(read_android, path) == {"a": "x\\  y   z", "b": '<b id="1">c</b>'}


def test_android_keeps_spaces_that_do_not_break(tmp_path: Path) -> None:
    path = tmp_path / "strings.xml"
    path.write_text("<resources><string name='a'> Voir\n\u00a0: \u202f! </string></resources>")
    assert texts(read_android, path) == {"a": "Voir \u00a0: \u202f!"}


def test_a_protected_backslash_before_u_is_no_escape(tmp_path: Path) -> None:
    path = tmp_path / "a.properties"
    path.write_text(r"home=C:\\users\\u1")
    assert texts(read_properties, path) == {"home": r"C:\users\u1"}


def test_a_comment_without_its_end_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.strings"
    path.write_text('"a" = "b";\n/* no end\n"c" = "d";\n/* again\n')
    with pytest.raises(DataInvalid, match=r"a.strings:2: a comment without its end"):
        texts(read_strings, path)
    assert texts(read_strings, path, skip_bad=True) == {"a": "b"}


@pytest.mark.parametrize("data", [b"<?xml", b"<?xml version='1.0'?><plist><key>a</key></plist>"])
def test_a_broken_property_list_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.strings"
    path.write_bytes(data)
    with pytest.raises(DataInvalid, match="not a readable property list"):
        texts(read_strings, path)


NO_VALUE = {"localizations": {"fr": {"stringUnit": {"state": "translated"}}}}


@pytest.mark.parametrize("entry", [[], NO_VALUE])
def test_a_catalogue_entry_that_is_none_is_told(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "a.xcstrings"
    path.write_text(json.dumps({"sourceLanguage": "en", "strings": {"Save": entry}}))
    with pytest.raises(DataInvalid, match="'Save' is no string of a catalogue"):
        list(read_xcstrings(path, Reading(EN_FR)))


def test_a_file_that_is_no_applications_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "en.json"
    with path.open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(DataInvalid, match="expected at most 16 MiB, found 17"):
        texts(read_locale_json, path)
