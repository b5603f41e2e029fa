"""TMX and XLIFF: inline codes, states, languages, and files that mean harm."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.reading import Reading
from training.corpus.tmx import read_tmx
from training.corpus.xliff import read_xliff

EN_FR = LanguagePair("en", "fr")
UNIT = '<tu><tuv xml:lang="{0}"><seg>{1}</seg></tuv><tuv xml:lang="{2}"><seg>{3}</seg></tuv></tu>'
XLIFF_1 = (
    '<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">'
    '<file original="app.html" source-language="en-US" target-language="fr"><body>{}</body></file>'
    "</xliff>"
)
XLIFF_2 = (
    '<xliff version="2.0" srcLang="en" trgLang="fr" xmlns="urn:oasis:names:tc:xliff:document:2.0">'
    '<file id="f1"><unit id="1">{}</unit></file></xliff>'
)


def tmx(path: Path, *units: str) -> Path:
    body = "\n".join(units)
    head = '<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header srclang="en"/>'
    path.write_text(f"{head}<body>\n{body}\n</body></tmx>", encoding="utf-8")
    return path


def from_tmx(path: Path, pair: LanguagePair = EN_FR) -> list[tuple[str, str]]:
    return [(segment.source, segment.target) for segment in read_tmx(path, Reading(pair))]


def from_xliff(path: Path, text: str) -> list[tuple[str, str]]:
    path.write_text(text, encoding="utf-8")
    return [(segment.source, segment.target) for segment in read_xliff(path, Reading(EN_FR))]


def test_a_unit_keeps_its_document_line_and_space(tmp_path: Path) -> None:
    prop = '<prop type="x-document">menu.html</prop>'
    unit = UNIT.format("en", " Save \n as", "fr", " Enregistrer ")
    (segment,) = read_tmx(
        tmx(tmp_path / "a.tmx", unit.replace("<tu>", f"<tu>{prop}")), Reading(EN_FR)
    )
    assert (segment.source, segment.target) == (" Save \n as", " Enregistrer ")
    assert (segment.document, segment.line) == ("menu.html", 2)


@pytest.mark.parametrize(
    ("tags", "pair", "found"),
    [
        (("en-US", "FR-fr"), "en-fr", True),
        (("en", "zh-CN"), "en-zh_hans", True),
        (("en", "zh-TW"), "en-zh_hans", False),
        (("en", "pt-PT"), "en-pt_br", False),
        (("en", "pt_BR"), "en-pt_br", True),
    ],
)
def test_languages_are_found_as_tools_spell_them(
    tmp_path: Path, tags: tuple[str, str], pair: str, found: bool
) -> None:
    path = tmx(tmp_path / "a.tmx", UNIT.format(tags[0], "a", tags[1], "b"))
    if found:
        assert from_tmx(path, LanguagePair.parse(pair)) == [("a", "b")]
    else:
        with pytest.raises(DataInvalid, match=tags[1]):
            from_tmx(path, LanguagePair.parse(pair))


def test_the_exact_language_is_preferred_to_its_variants(tmp_path: Path) -> None:
    extra = '<tuv xml:lang="en"><seg>colour</seg></tuv></tu>'
    unit = UNIT.format("en-US", "color", "fr", "couleur").replace("</tu>", extra)
    assert from_tmx(tmx(tmp_path / "a.tmx", unit)) == [("colour", "couleur")]


def test_native_tags_stay_and_other_codes_are_numbered(tmp_path: Path) -> None:
    bold = '<bpt i="1">&lt;b&gt;</bpt>{}<ept i="1">&lt;/b&gt;</ept>'
    rtf = '<bpt i="2">{{\\ul</bpt>{}<ept i="2">}}</ept><ph x="7">\\tab</ph>'
    unit = UNIT.format(
        "en", bold.format("OK") + " or " + rtf.format("no"),
        "fr", rtf.format("non") + " ou " + bold.format("OK"),
    )  # fmt: skip
    assert from_tmx(tmx(tmp_path / "a.tmx", unit)) == [
        ("<b>OK</b> or <g1>no</g1><x2/>", "<g1>non</g1><x2/> ou <b>OK</b>")
    ]


def test_xliff_1_leaves_out_what_is_not_translated_yet(tmp_path: Path) -> None:
    unit = '<trans-unit id="1"{}><source>Save</source><target{}>Enregistrer</target></trans-unit>'
    units = [
        unit.format("", ""),
        unit.format("", ' state="translated"'),
        unit.format("", ' state="needs-translation"'),
        unit.format(' translate="no"', ""),
        '<trans-unit id="5"><source>Save</source></trans-unit>',
    ]
    found = from_xliff(tmp_path / "a.xlf", XLIFF_1.format("".join(units)))
    assert found == [("Save", "Enregistrer")] * 2


def test_xliff_1_reads_placeholders_and_marked_segments(tmp_path: Path) -> None:
    angular = (
        '<trans-unit id="1"><source>Hi <x id="INTERPOLATION" equiv-text="{{ name }}"/>'
        '<g id="b">!</g></source><target>Salut<g id="b">!</g> '
        '<x id="INTERPOLATION" equiv-text="{{ name }}"/></target></trans-unit>'
    )
    marked = (
        '<trans-unit id="2"><source>One. Two.</source><seg-source><mrk mtype="seg" mid="1">One.'
        '</mrk> <mrk mtype="seg" mid="2">Two.</mrk></seg-source><target><mrk mtype="seg" mid="1">'
        'Un.</mrk> <mrk mtype="seg" mid="2">Deux.</mrk></target></trans-unit>'
    )
    assert from_xliff(tmp_path / "a.xlf", XLIFF_1.format(angular + marked)) == [
        ("Hi {{ name }}<g1>!</g1>", "Salut<g1>!</g1> {{ name }}"),
        ("One.", "Un."),
        ("Two.", "Deux."),
    ]


def test_xliff_2_reads_its_codes_and_states(tmp_path: Path) -> None:
    segment = "<segment{}><source>{}</source><target>{}</target></segment>"
    body = (
        segment.format("", 'A <pc id="1">b</pc><ph id="2"/>', '<ph id="2"/>C <pc id="1">d</pc>')
        + segment.format(' state="initial"', "e", "f")
        + segment.format(' state="final"', '<cp hex="0007"/>', "g")
    )
    assert from_xliff(tmp_path / "a.xlf", XLIFF_2.format(body)) == [
        ("A <g1>b</g1><x2/>", "<x2/>C <g1>d</g1>"),
        ("\a", "g"),
    ]


def test_xliff_of_other_languages_is_refused(tmp_path: Path) -> None:
    text = XLIFF_1.replace('"fr"', '"de"').format(
        "<trans-unit id='1'><source>a</source></trans-unit>"
    )
    with pytest.raises(DataInvalid, match="found text in de"):
        from_xliff(tmp_path / "a.xlf", text)


def test_an_entity_is_not_expanded_and_the_next_unit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    units = UNIT.format("en", "&own;", "fr", "x") + UNIT.format("en", "a", "fr", "b")
    path.write_text(
        '<!DOCTYPE tmx [<!ENTITY own "text"><!ENTITY file SYSTEM "file:///etc/passwd">]>'
        f"<tmx><body>{units}{UNIT.format('en', '&file;', 'fr', 'x')}</body></tmx>"
    )
    with pytest.raises(DataInvalid, match=r"a.tmx:1: the entity &own; is not expanded"):
        from_tmx(path)
    how = Reading(EN_FR, skip_bad=True)
    assert [segment.source for segment in read_tmx(path, how)] == ["a"]
    assert how.bad == 2


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    unit = UNIT.format("en", "&l9;", "fr", "x")
    path.write_text(f'<!DOCTYPE tmx [<!ENTITY l0 "lol">{laughs}]><tmx><body>{unit}</body></tmx>')
    with pytest.raises(DataInvalid, match=r"amplification|not expanded"):
        from_tmx(path)


@pytest.mark.parametrize("text", ["<tmx><body>" + "<a>" * 100_000, "", "<tmx><body><tu>", "{}"])
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tmx"
    path.write_text(text)
    with pytest.raises(DataInvalid, match=r"a.tmx:1: not well-formed XML"):
        from_tmx(path)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    unit = UNIT.format("en", "word " * 40, "fr", "mot " * 40)
    with path.open("w") as file:
        file.write("<tmx><body>")
        for _ in range(6_000):
            file.write(unit + "\n")
        file.write("</body></tmx>")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_tmx(path, Reading(EN_FR))) == 6_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_units_of_several_files_have_their_own_document(tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    unit = "<trans-unit id='1'><source>a</source><target>b</target></trans-unit>"
    one = XLIFF_1.format(unit * 2).removesuffix("</xliff>")
    other = XLIFF_1.format(unit).replace("app.html", "other.html")
    path.write_text(one + other[other.index("<file") :])
    found = [segment.document for segment in read_xliff(path, Reading(EN_FR))]
    assert found == ["app.html", "app.html", "other.html"]
    path.write_text(one + other[other.index("<file") :].replace('"fr"', '"de"'))
    how = Reading(EN_FR, skip_bad=True)
    assert (len(list(read_xliff(path, how))), how.bad) == (2, 1)


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_text("<html><body><tu/></body></html>")
    with pytest.raises(DataInvalid, match=r"a.tmx:1: expected <tmx> as the outermost element"):
        from_tmx(path)
    path.write_text("<html><tmx><tu/></tmx></html>")
    with pytest.raises(DataInvalid, match=r"a.tmx:1: expected <tmx>"):
        from_tmx(path)


def test_what_is_whole_before_a_fault_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_text("<tmx><body>" + UNIT.format("en", "a", "fr", "b") + "\n<tu></x>")
    found = read_tmx(path, Reading(EN_FR))
    assert next(found).source == "a"
    with pytest.raises(DataInvalid, match=r"a.tmx:2: not well-formed"):
        next(found)


def test_units_far_down_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    unit = UNIT.format("en", "a", "fr", "b")
    path.write_text("<tmx><body>" + "\n" * 70_000 + unit + "\n" + unit + "</body></tmx>")
    assert [segment.line for segment in read_tmx(path, Reading(EN_FR))] == [70_001, 70_002]


def test_a_unit_that_goes_on_for_ever_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_text("<tmx>\n<tu>" + "<a>bcdefgh</a>" * 400_000)
    with pytest.raises(DataInvalid, match=r"a.tmx:2: expected a unit of text, found <tu> of over"):
        from_tmx(path)


def test_codes_that_are_nested_too_deep_are_told(tmp_path: Path) -> None:
    deep = "<g id='1'>" * 200 + "a" + "</g>" * 200
    unit = f"<trans-unit id='1'><source>{deep}</source><target>b</target></trans-unit>"
    with pytest.raises(DataInvalid, match=r"a.xlf:1: inline codes are nested over 32 deep"):
        from_xliff(tmp_path / "a.xlf", XLIFF_1.format(unit))


@pytest.mark.parametrize("number", ["", "x", "110000", "F" * 40])
def test_a_character_that_is_none_is_told(tmp_path: Path, number: str) -> None:
    body = f'<segment><source><cp hex="{number}"/></source><target>g</target></segment>'
    with pytest.raises(DataInvalid, match=r"a.xlf:1: expected the number of a character"):
        from_xliff(tmp_path / "a.xlf", XLIFF_2.format(body))
