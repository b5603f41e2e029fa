"""Files that mean harm: they cost neither memory nor time, are told, and read nothing else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.training.corpus.measured import measured
from tests.training.corpus.samples import GOOD, workbook

pytestmark = pytest.mark.slow
MIB = 2**20
LINE = {
    "jsonl": (b'{"source": "a", "target": "b"}\n', b'{"source": "', b'", "target": "b"}\n'),
    "tsv": (b"a\tb\n", b"a\t", b"\n"),
    "csv": (b"source,target\n", b"a,", b"\nc,d\n"),
    "moses": (b"a\n", b"", b"\nc\nd\n"),
    "text": (b"a\n\n", b"", b"\n"),
    "subtitles": (b"1\n00:00:01,000 --> 00:00:02,000\n", b"", b"\n\n"),
    "gettext": (b'msgid "a"\nmsgstr "', b"", b'"\n'),
    "properties": (b"a=b\n", b"c=", b"\n"),
    "apple": (b'"a" = "b";\n', b'"c" = "', b'";\n'),
    "markdown": (b"a\n\n", b"", b"\n"),
    "locale_json": (b'{"a": "', b"", b'"}'),
}
PAIRED = {"moses", "subtitles", "properties", "apple", "markdown", "locale_json", "android"}


def keys_of(kind: str) -> dict[str, object]:
    suffix = GOOD[kind][0]
    if kind == "text":
        return {"text": f"fr{suffix}", "language": "fr"}
    return {kind: f"{{language}}{suffix}" if kind in PAIRED else f"fr{suffix}"}


def put(kind: str, folder: Path, *pieces: bytes) -> dict[str, object]:
    """Write the pieces as the file of a source of `kind`, and return the source's keys."""
    suffix, good = GOOD[kind]
    (folder / f"en{suffix}").write_bytes(good)
    with (folder / f"fr{suffix}").open("wb") as file:
        for piece in pieces:
            file.write(piece)
    return keys_of(kind)


@pytest.mark.parametrize("kind", LINE)
def test_a_line_of_100_mb_is_told_and_never_in_memory(tmp_path: Path, kind: str) -> None:
    before, begin, end = LINE[kind]
    keys = put(kind, tmp_path, before, begin, *[b"x" * MIB] * 100, end)
    found = measured(keys, tmp_path)
    assert found.bad == 1
    assert GOOD[kind][0] in found.error
    assert found.grown_mib < 100
    assert found.seconds < 10


@pytest.mark.parametrize(
    ("kind", "begin"),
    [("tmx", b"<tmx><body>"), ("xliff", b"<xliff>"), ("android", b"<resources>")],
)
@pytest.mark.parametrize("name", [b"a", b"tu", b"unit", b"string"])
def test_xml_of_any_depth_is_told(tmp_path: Path, kind: str, begin: bytes, name: bytes) -> None:
    keys = put(kind, tmp_path, begin, (b"<" + name + b">") * 100_000)
    found = measured(keys, tmp_path)
    assert (found.segments, found.bad) == (0, 1)
    assert f"{GOOD[kind][0]}:1: " in found.error
    assert found.grown_mib < 50


@pytest.mark.parametrize("kind", ["jsonl", "locale_json", "xcstrings"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_of_any_depth_is_told(tmp_path: Path, kind: str, opening: bytes) -> None:
    found = measured(put(kind, tmp_path, opening * 100_000), tmp_path)
    assert (found.segments, found.bad) == (0, 1)
    assert "not JSON" in found.error
    assert found.grown_mib < 50


UNITS = {
    "tmx": b"<tmx><body><tu><tuv xml:lang='en'><seg>%s</seg></tuv>"
    b"<tuv xml:lang='fr'><seg>x</seg></tuv></tu></body></tmx>",
    "xliff": b"<xliff><file><body><trans-unit><source>%s</source><target>x</target></trans-unit>"
    b"</body></file></xliff>",
    "android": b"<resources><string name='bold'>%s</string></resources>",
    "apple": b"<plist><dict><key>bare</key><string>%s</string></dict></plist>",
}
LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10)
)
BOMBS = {
    "billion laughs": (b'<!ENTITY l0 "lol">' + LAUGHS, b"&l9;"),
    "quadratic": (b'<!ENTITY l "' + b"x" * MIB + b'">', b"&l;" * 10_000),
    "an external entity": (b'<!ENTITY l SYSTEM "file:///etc/passwd">', b"&l;"),
    "a parameter entity": (b'<!ENTITY % l SYSTEM "file:///etc/passwd"> %l;', b"root"),
}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_entity_is_expanded_and_no_file_read(tmp_path: Path, kind: str, bomb: str) -> None:
    declared, used = BOMBS[bomb]
    text = b"<?xml version='1.0'?><!DOCTYPE a [" + declared + b"]>" + UNITS[kind] % used
    found = measured(put(kind, tmp_path, text), tmp_path)
    assert "root:" not in found.error
    assert (found.segments, found.bad) == (0, 1) or bomb == "a parameter entity"
    assert found.grown_mib < 100
    assert found.seconds < 5


@pytest.mark.parametrize("kind", ["tmx", "xliff", "android"])
@pytest.mark.parametrize("where", ["before", "within", "instead"])
def test_xml_without_texts_does_not_fill_the_memory(tmp_path: Path, kind: str, where: str) -> None:
    root = {"tmx": b"<tmx>", "xliff": b"<xliff>", "android": b"<resources>"}[kind]
    unit = {"tmx": b"<tu>", "xliff": b"<unit>", "android": b"<string name='a'>"}[kind]
    begin = {"before": root, "within": root + unit, "instead": b"<html>"}[where]
    # Five million elements, which take 660 MiB where they are kept.
    found = measured(put(kind, tmp_path, begin, *[b"<b/>" * (MIB // 4)] * 20), tmp_path)
    assert (found.segments, found.bad) == (0, 1)
    assert found.grown_mib < 300


def repacked(files: dict[str, bytes]) -> bytes:
    """Return a good workbook with these files in place of its own."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(("source", "target"), ("a", "b")))) as good,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in good.namelist():
            archive.writestr(name, files.get(name) or good.read(name))
    return out.getvalue()


SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
HEAD = b'<row r="1"><c r="A1" t="str"><v>source</v></c><c r="B1" t="str"><v>target</v></c></row>'
END = b"</sheetData></worksheet>"
ROW = b'<row r="%d"><c r="A%d" t="str"><v>a</v></c><c r="B%d" t="str"><v>b</v></c></row>'


@pytest.mark.parametrize(
    ("sheet", "bad"),
    [
        (SHEET + HEAD + b"<row/>" * 20_000_000 + END, 1),
        (SHEET + HEAD + ROW % ((999_999_999_999,) * 3) + END, 1),
        (SHEET + HEAD + b"<a>" * 100_000, 1),
        (b"<!DOCTYPE a [" + LAUGHS + b"]>" + SHEET + b"<v>&l9;</v>" + END, 1),
        (b'<!DOCTYPE a [<!ENTITY l SYSTEM "file:///etc/passwd">]>' + SHEET + b"&l;" + END, 1),
        (SHEET.replace(b"<sheetData>", b'<dimension ref="A1:A1"/><sheetData>')
         + HEAD + ROW % (2, 2, 2) + END, 0),
    ],
    ids=["zip bomb", "far row", "deep", "laughs", "external entity", "wrong dimension"],
)  # fmt: skip
def test_a_workbook_that_means_harm_is_told(tmp_path: Path, sheet: bytes, bad: int) -> None:
    data = repacked({"xl/worksheets/sheet1.xml": sheet})
    found = measured(put("xlsx", tmp_path, data), tmp_path)
    assert (found.segments, found.bad) == (1 - bad, bad)
    assert found.grown_mib < 150
    assert found.seconds < 10


def test_a_workbook_that_lies_about_its_size_is_told(tmp_path: Path) -> None:
    data = repacked({"xl/worksheets/sheet1.xml": SHEET + HEAD + b"<row/>" * 5_000_000 + END})
    size = len(SHEET + HEAD + END) + 30_000_000
    lied = data.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lied != data
    found = measured(put("xlsx", tmp_path, lied), tmp_path)
    assert (found.segments, found.bad) == (0, 1)
    assert found.grown_mib < 100


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("apple", [b"/*\n" * (4 * MIB)]),
        ("apple", [b"a " * (2 * MIB)]),
        ("properties", [b"a\\\n" * (4 * MIB)]),
        ("markdown", [b"a" + b" " * MIB + b"b"]),
        ("markdown", [b"{{<" + b"a" * (MIB - 100)]),
        ("markdown", [b"](" * (MIB // 2 - 10)]),
        ("markdown", [b"a" * (MIB - 10)]),
        ("markdown", [b"x <!--" * (MIB // 7) + b"-->"]),
        ("markdown", [b"{{< a >}}\n" * (MIB // 10 - 1)]),
        ("markdown", [b"- a\n\n" * (MIB // 10)]),
        ("markdown", [b"[a]: b\n" * (MIB // 8)]),
        ("commented", [b"<!-- a -->" * (MIB // 11)]),
        ("commented", [b"<!--\nA text.\n-->\n" * (MIB // 20)]),
        ("gettext", [b'msgid "a"\nmsgstr ""\n', b'"b"\n' * (10 * MIB)]),
        ("subtitles", [b"1\n" * (2 * MIB)]),
        ("csv", [b'source,target\n"', b"a\n" * (2 * MIB)]),
    ],
    ids=[
        "open comments", "a row without end", "a line without end", "spaces", "a shortcode",
        "links", "a word", "open comments in text", "shortcodes", "a list", "references",
        "comments in a line", "comments", "a message without end", "a cue without end",
        "a cell without end",
    ],
)  # fmt: skip
def test_nothing_takes_quadratic_time(tmp_path: Path, kind: str, pieces: list[bytes]) -> None:
    found = measured(put(kind, tmp_path, *pieces), tmp_path)
    assert found.seconds < 25
    assert found.grown_mib < 1000


def test_a_compiled_catalogue_of_overlapping_texts_is_told(tmp_path: Path) -> None:
    count, size = 20_000, MIB
    head = b"".join(n.to_bytes(4, "little") for n in (0x950412DE, 0, count, 28, 28, 0, 0))
    table = (size.to_bytes(4, "little") + bytes(4)) * count
    (tmp_path / "fr.mo").write_bytes(head + table + b"x" * size)
    found = measured({"gettext": "fr.mo"}, tmp_path)
    assert (found.segments, found.bad) == (0, 1)
    assert found.seconds < 5
