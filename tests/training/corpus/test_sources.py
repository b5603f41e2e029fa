"""A recipe's source of each format: where its files are, and what comes out of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus import hub
from training.corpus.formats import FORMATS
from training.corpus.places import PairedPlace, Place, Sides, double_places, single_places
from training.corpus.reading import Reading
from training.corpus.source import KINDS, Source
from training.corpus.subtitles import read_subtitles

EN_FR = LanguagePair("en", "fr")
PT_BR = LanguagePair("en", "pt_br")


def source(**keys: object) -> Source:
    return Source.model_validate({"licence": "CC0-1.0", **keys})


def read(one: Source, folder: Path, *, skip_bad: bool = False) -> list[tuple[str, str]]:
    how = one.reading([EN_FR], skip_bad=skip_bad)
    places = one.places(folder, [EN_FR])
    return [(s.source, s.target) for s in one.read(places, [EN_FR], how)]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_format_is_a_key_of_a_source() -> None:
    assert set(FORMATS) <= set(KINDS) <= set(Source.model_fields)


@pytest.mark.parametrize("where", ["a.csv", ".", "*.csv", "**/*.csv"])
def test_files_of_both_languages_are_a_file_a_folder_or_a_glob(tmp_path: Path, where: str) -> None:
    write(tmp_path / "a.csv", "en,fr\na,b\n")
    write(tmp_path / "other.txt", "no table")
    assert read(source(csv=where), tmp_path) == [("a", "b")]


def test_a_place_without_a_file_is_told(tmp_path: Path) -> None:
    for where in ("absent.csv", "*.csv", str(tmp_path)):
        with pytest.raises(DataInvalid, match=r"no such file|no file with .csv"):
            single_places(where, tmp_path, (".csv",))


@pytest.mark.parametrize("spelt", ["pt_br", "pt-BR", "pt_BR", "pt-rBR", "pt-br"])
def test_a_language_in_a_path_is_spelt_as_files_spell_it(tmp_path: Path, spelt: str) -> None:
    ours = write(tmp_path / "en.json", "{}")
    theirs = write(tmp_path / f"{spelt}.json", "{}")
    found = double_places("{language}.json", tmp_path, PT_BR, (".json",))
    assert found == [PairedPlace(theirs, ours)]


def test_two_folders_are_paired_by_the_names_in_them(tmp_path: Path) -> None:
    for name in ("docs/a.md", "docs/sub/b.md", "docs/only.md", "i18n/fr/a.mdx", "i18n/fr/sub/b.md"):
        write(tmp_path / name, name)
    sides = Sides(source="docs", target="i18n/fr")
    found = double_places(sides, tmp_path, EN_FR, (".md", ".mdx"))
    assert [(p.source, p.target) for p in found] == [
        (tmp_path / "docs/a.md", tmp_path / "i18n/fr/a.mdx"),
        (tmp_path / "docs/sub/b.md", tmp_path / "i18n/fr/sub/b.md"),
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("one.json", "a file for each language"),
        ("{language}/x.json", "tried fr/x.json"),
        (Sides(source="en/x.json", target="absent"), "absent: no such file"),
        (Sides(source="en/x.json", target="en"), "two files or two folders"),
        (Sides(source="en", target="de"), "no file of the same name"),
    ],
)
def test_sides_that_do_not_fit_are_told(tmp_path: Path, where: str | Sides, expected: str) -> None:
    write(tmp_path / "en/x.json", "{}")
    write(tmp_path / "de/y.json", "{}")
    with pytest.raises(DataInvalid, match=expected):
        double_places(where, tmp_path, EN_FR, (".json",))


def test_locale_files_are_read_by_key_in_both_directions(tmp_path: Path) -> None:
    write(tmp_path / "en.json", '{"save": "Save", "open": "Open"}')
    write(tmp_path / "fr.json", '{"open": "Ouvrir"}')
    one = source(locale_json="{language}.json")
    assert read(one, tmp_path) == [("Open", "Ouvrir")]
    pairs = [EN_FR, EN_FR.reverse]
    found = one.read(one.places(tmp_path, pairs), pairs, one.reading(pairs))
    assert [(str(s.pair), s.source) for s in found] == [("en-fr", "Open"), ("fr-en", "Ouvrir")]


def test_a_bad_file_is_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "a.tmx", "<tmx><body><tu>")
    write(tmp_path / "b.csv", "")
    unit = '<tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu>'
    write(tmp_path / "c.tmx", f"<tmx><body>{unit}</body></tmx>")
    one = source(tmx=".")
    with pytest.raises(DataInvalid, match=r"a.tmx:1"):
        read(one, tmp_path)
    assert read(one, tmp_path, skip_bad=True) == [("a", "b")]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "exactly one of"),
        ({"csv": "a.csv", "tmx": "b.tmx"}, "found tmx and csv"),
        ({"tmx": "a.tmx", "columns": {"source": "a"}}, "`columns` are of a source of jsonl"),
        ({"csv": "a.csv", "language": "fr"}, "`language` is of monolingual text"),
        ({"moses": {"source": "a.en"}}, "target"),
        ({"hub": {"name": "x", "rows": 0}}, "rows"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(keys: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        source(**keys)


SRT = """1
00:00:01,000 --> 00:00:03,000
<i>Hello</i>
there

2
00:00:03,500 --> 00:00:06,000
How are you today?

3
00:00:20,000 --> 00:00:21,000
Nobody translated this.
"""
VTT = """WEBVTT

NOTE a remark

00:01.000 --> 00:03.100 align:start
<i>Salut</i>

00:03.400 --> 00:04.500
Comment vas-tu

00:04.500 --> 00:06.000
aujourd'hui ?
"""


def test_subtitles_are_paired_by_when_they_are_shown(tmp_path: Path) -> None:
    ours, theirs = write(tmp_path / "a.en.srt", SRT), write(tmp_path / "a.fr.vtt", VTT)
    found = [(s.source, s.target) for s in read_subtitles(ours, theirs, Reading(EN_FR))]
    assert found == [
        ("<i>Hello</i> there", "<i>Salut</i>"),
        ("How are you today?", "Comment vas-tu aujourd'hui ?"),
    ]


def test_a_cue_without_times_is_told(tmp_path: Path) -> None:
    ours = write(tmp_path / "a.srt", "1\n00:00:01 --> later\nHi\n\n" + SRT)
    with pytest.raises(DataInvalid, match=r"a.srt:2: expected times"):
        list(read_subtitles(ours, ours, Reading(EN_FR)))
    how = Reading(EN_FR, skip_bad=True)
    assert len(list(read_subtitles(ours, ours, how))) == 3


def test_a_data_set_by_name_says_that_it_needs_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    one = source(hub={"name": "no-one/no-set", "config": "en-fr"})
    with pytest.raises(DataInvalid, match="needs a hub that can be reached"):
        read(one, tmp_path)


def test_the_digest_of_a_data_set_says_which_it_is(tmp_path: Path) -> None:
    sets: list[dict[str, object]] = [
        {"name": "a/b"}, {"name": "a/c"}, {"name": "a/b", "revision": "1"},
        {"name": "a/b", "config": "en-fr"}, {"name": "a/b", "split": "dev"},
        {"name": "a/b", "rows": 10},
    ]  # fmt: skip
    digests = [source(hub=one).digest([]) for one in sets]
    digests.append(source(hub=sets[0], pair="en-de").digest([]))
    assert len(set(digests)) == len(digests)
    assert source(hub=sets[2], name="other").digest([]) == digests[2]


def test_the_digest_of_files_is_of_what_they_hold(tmp_path: Path) -> None:
    one = source(csv="a.csv")
    write(tmp_path / "a.csv", "en,fr\na,b\n")
    before = one.digest(one.places(tmp_path, [EN_FR]))
    write(tmp_path / "a.csv", "en,fr\na,c\n")
    assert before != one.digest(one.places(tmp_path, [EN_FR]))


def test_a_format_of_two_files_is_not_read_from_one(tmp_path: Path) -> None:
    one = source(locale_json="{language}.json")
    path = write(tmp_path / "fr.json", '{"save": "Enregistrer"}')
    with pytest.raises(DataInvalid, match="expected a file of each language"):
        list(one.read([Place(path)], [EN_FR], one.reading([EN_FR])))


def test_a_bad_file_of_one_language_is_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "b.txt", "Deux.\n")
    one = source(text="*.txt", language="fr")
    how = one.reading([EN_FR], skip_bad=True)
    found = one.read([Place(tmp_path / "absent.txt"), Place(path)], [EN_FR], how)
    assert [s.source for s in found] == ["Deux."]
    assert how.bad == 1


def test_a_pattern_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no pattern of files"):
        single_places("a**.csv", tmp_path, (".csv",))


def test_a_data_set_that_breaks_while_it_streams_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*_: object) -> Iterator[dict[str, str]]:
        yield {"en": "a", "fr": "b"}
        raise ConnectionError("gone")

    pytest.importorskip("datasets")
    monkeypatch.setattr(hub, "_open", rows)
    found = hub.read_hub(hub.HubSet(name="a/b"), Reading(EN_FR))
    assert next(found).document == "a/b:1"
    with pytest.raises(DataInvalid, match=r"a/b: cannot be loaded .ConnectionError: gone"):
        next(found)
