"""CSV, XLSX, Moses files, instructions, and lines without end."""

from __future__ import annotations

import csv
import json
import tracemalloc
import zipfile
from pathlib import Path

import openpyxl
import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.jsonl import read_jsonl
from training.corpus.lines import numbered_lines
from training.corpus.moses import read_moses
from training.corpus.reading import Columns, Reading
from training.corpus.source import Source
from training.corpus.spreadsheet import read_csv, read_xlsx
from training.corpus.text import read_text

EN_FR = LanguagePair("en", "fr")


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def from_csv(path: Path, columns: Columns | None = None) -> list[tuple[str, str]]:
    return [(s.source, s.target) for s in read_csv(path, Reading(EN_FR, columns))]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_is_divided_by_what_its_first_row_has(tmp_path: Path, mark: str) -> None:
    rows = ["id", "en", "fr"], ["1", '"a ""b"", c; d | e"', '"x\r\ny"'], ["2", "", "z"]
    path = write(tmp_path / "a.csv", "\ufeff" + "\r\n".join(mark.join(row) for row in rows))
    assert from_csv(path) == [('a "b", c; d | e', "x\ny"), ("", "z")]


def test_csv_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Key,English,French\n1,a,b\n")
    assert from_csv(path, Columns(source="English", target="French")) == [("a", "b")]
    with pytest.raises(DataInvalid, match=r"a.csv:1: expected a first row .* found Key, English"):
        from_csv(path)


def test_a_short_row_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "source,target\na,b\nc\nd,e\n")
    with pytest.raises(DataInvalid, match=r"a.csv:3: expected 2 cells, found 1"):
        from_csv(path)
    how = Reading(EN_FR, skip_bad=True)
    assert [s.source for s in read_csv(path, how)] == ["a", "d"]
    assert how.bad == 1


def test_xlsx_reads_every_sheet(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    rows: dict[str, list[list[str | int | None]]] = {
        "first": [["Source", "Target", "doc"], ["Save", "Enregistrer", "menu"], [None, None]],
        "more": [["en", "fr"], [3, "trois"]],
    }
    book.remove(book.worksheets[0])
    for name, cells in rows.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    book.save(path)
    found = list(read_xlsx(path, Reading(EN_FR)))
    assert [(s.source, s.target, s.document, s.line) for s in found] == [
        ("Save", "Enregistrer", "menu", 2), ("3", "trois", "a.xlsx", 2),
    ]  # fmt: skip


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 50_000_000)
    with pytest.raises(DataInvalid, match="unpacks to 50000000 bytes"):
        list(read_xlsx(path, Reading(EN_FR)))
    with pytest.raises(DataInvalid, match="not a readable"):
        list(read_xlsx(write(tmp_path / "b.xlsx", "no zip"), Reading(EN_FR)))


def test_moses_files_go_line_by_line_and_must_end_together(tmp_path: Path) -> None:
    ours = write(tmp_path / "a.en", "one\n\nthree\n")
    theirs = write(tmp_path / "a.fr", "un\ndeux\u2028!\ntrois\n")
    found = [(s.source, s.target, s.line) for s in read_moses(ours, theirs, Reading(EN_FR))]
    assert found == [("one", "un", 1), ("", "deux\u2028!", 2), ("three", "trois", 3)]
    write(theirs, "un\ndeux\n")
    with pytest.raises(DataInvalid, match=r"a.fr:3: the file ends, and .*a.en goes on"):
        list(read_moses(ours, theirs, Reading(EN_FR)))


def from_rows(path: Path, *rows: object) -> list[tuple[str, str]]:
    write(path, "\n".join(json.dumps(row) for row in rows))
    return [(s.source, s.target) for s in read_jsonl(path, Reading(EN_FR))]


def chat(*turns: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_alpaca_and_chat_rows_are_read(tmp_path: Path) -> None:
    assert from_rows(
        tmp_path / "a.jsonl",
        {"instruction": "Translate to French:", "input": "Save", "output": "Enregistrer"},
        {"instruction": "Say hello", "input": "", "output": "Bonjour"},
        chat(("system", "You translate."), ("user", "Save"), ("assistant", "Enregistrer")),
    ) == [
        ("Translate to French:\n\nSave", "Enregistrer"),
        ("Say hello", "Bonjour"),
        ("Save", "Enregistrer"),
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (chat(("user", "a")), "found user"),
        (chat(("user", "a"), ("assistant", " ")), r"messages\[1\]: the assistant says nothing"),
        (chat(("user", "a"), ("bot", "b")), "expected a role of system, user, assistant"),
        (
            chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
            "make a line of each turn",
        ),
        ({"messages": []}, "to be a list"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "expected a text as content"),
        ({"instruction": 3, "output": "a"}, "'instruction' must be a string"),
    ],
)
def test_a_bad_instruction_is_told_with_its_line(
    tmp_path: Path, row: object, expected: str
) -> None:
    with pytest.raises(DataInvalid, match=rf"a.jsonl:1: .*{expected}|a.jsonl:1: {expected}"):
        from_rows(tmp_path / "a.jsonl", row)


def test_a_line_without_end_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.write(b"first\n")
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\nlast\n")
    with pytest.raises(DataInvalid, match=r"a.txt:2: a line of over 16 MiB"):
        list(numbered_lines(path, Reading(EN_FR)))
    tracemalloc.start()
    try:
        how = Reading(EN_FR, skip_bad=True)
        assert list(numbered_lines(path, how)) == [(1, "first"), (3, "last")]
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


def test_rows_have_the_number_of_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'source,target\na,"b\nb"\n\xff,c\nd,e\n"f\n\xff",g\nh,i\n')
    how = Reading(EN_FR, skip_bad=True)
    found = [(s.source, s.line) for s in read_csv(path, how)]
    assert found == [("a", 2), ("d", 5)]
    assert [line.partition(": ")[0] for line in how.shown] == [
        f"{path}:4", f"{path}:7", f"{path}:6",
    ]  # fmt: skip


def test_a_cell_without_its_end_is_bad_and_no_limit_is_changed(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", 'source,target\na,b\n"c' + "x\n" * 100_000)
    with pytest.raises(DataInvalid, match=r"a.csv:3: not a row of CSV .*limit"):
        from_csv(path)
    assert csv.field_size_limit() == before


def test_xlsx_is_read_to_its_end_whatever_size_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    for row in (["source", "target"], ["a", "b"], ["c", None]):
        book.worksheets[0].append(row)
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    files[sheet] = files[sheet].replace(b"A1:B3", b"A1:A1")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    found = [(s.source, s.target, s.line) for s in read_xlsx(path, Reading(EN_FR))]
    assert found == [("a", "b", 2), ("c", "", 3)]


def test_a_bad_line_of_moses_files_shifts_nothing(tmp_path: Path) -> None:
    ours = write(tmp_path / "a.en", "one\ntwo\nthree\nfour\n")
    theirs = tmp_path / "a.fr"
    theirs.write_bytes(b"un\n\xff\ntrois\nquatre\n")
    how = Reading(EN_FR, skip_bad=True)
    found = [(s.source, s.target, s.line) for s in read_moses(ours, theirs, how)]
    assert found == [("one", "un", 1), ("three", "trois", 3), ("four", "quatre", 4)]
    assert how.bad == 1


def test_a_text_without_empty_lines_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\n" + ("x" * 1000 + "\n") * 1100 + "\ntwo\n")
    with pytest.raises(DataInvalid, match=r"a.txt:3: expected texts between empty lines"):
        list(read_text(path, Reading(EN_FR)))
    how = Reading(EN_FR, skip_bad=True)
    assert [s.source for s in read_text(path, how)] == ["one", "two"]
    assert how.bad == 1


@pytest.mark.parametrize(
    "row", [{"source": "a", "target": "\ud83d"}, {"en": "a", "fr": "b", "doc": "\udc00"}]
)
def test_half_a_character_is_bad(tmp_path: Path, row: dict[str, str]) -> None:
    write(tmp_path / "a.jsonl", json.dumps(row) + '\n{"en": "a", "fr": "\\ud83c\\udf89"}\n')
    one = Source.model_validate({"licence": "CC0-1.0", "jsonl": "a.jsonl"})
    places = one.places(tmp_path, [EN_FR])
    with pytest.raises(DataInvalid, match=r"a.jsonl:1: half a character"):
        list(one.read(places, [EN_FR], one.reading([EN_FR])))
    how = one.reading([EN_FR], skip_bad=True)
    assert [s.target for s in one.read(places, [EN_FR], how)] == ["🎉"]


def test_a_document_is_named_by_a_text_or_a_number(tmp_path: Path) -> None:
    rows = [{"en": "a", "fr": "b", "doc": doc} for doc in ("menu", 7, None, ["x"])]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    found = [s.document for s in read_jsonl(path, Reading(EN_FR))]
    assert found == ["menu", "7", "a.jsonl", "a.jsonl"]
