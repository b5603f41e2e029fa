from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.jsonl import read_jsonl
from training.corpus.reading import Reading
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.corpus.tsv import read_tsv

EN_FR = LanguagePair("en", "fr")


def texts(segments: list[Segment]) -> list[tuple[str, str]]:
    return [(segment.source, segment.target) for segment in segments]


def write(tmp_path: Path, name: str, *lines: str) -> Path:
    path = tmp_path / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


@pytest.mark.parametrize(
    "body",
    [
        {"source": "Save", "target": "Enregistrer"},
        {"en": "Save", "fr": "Enregistrer", "id": 7},
        {"translation": {"en": "Save", "fr": "Enregistrer"}},
        {"EN": "Save", "fr": "Enregistrer"},
    ],
)
def test_jsonl_reads_every_usual_shape(tmp_path: Path, body: dict[str, object]) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps(body))
    assert texts(list(read_jsonl(path, Reading(EN_FR)))) == [("Save", "Enregistrer")]


def test_jsonl_keeps_document_line_and_whitespace(tmp_path: Path) -> None:
    body = {"source": "  a\n\n- b ", "target": "\tc\u2028d", "doc": "menu"}
    path = write(tmp_path, "a.jsonl", "", json.dumps(body, ensure_ascii=False))
    (segment,) = read_jsonl(path, Reading(EN_FR))
    assert (segment.source, segment.target) == ("  a\n\n- b ", "\tc\u2028d")
    assert (segment.document, segment.line, segment.origin) == ("menu", 2, f"{path}:2")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"source": "a"', "not JSON"),
        ('["a", "b"]', "expected an object"),
        ('{"source": "a"}', "found 'source'"),
        ('{"source": "a", "target": null}', "must be a string, found NoneType"),
        ('{"translation": "a"}', "found 'translation'"),
        ('{"en": "a", "de": "b"}', '"en" and "fr"'),
    ],
)
def test_a_bad_jsonl_line_is_told_with_path_and_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    path = write(tmp_path, "a.jsonl", '{"source": "a", "target": "b"}', line)
    with pytest.raises(DataInvalid) as caught:
        list(read_jsonl(path, Reading(EN_FR)))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert expected in str(caught.value)


@given(st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_written_jsonl_is_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    segments = [Segment(s, t, d, "f.po", n) for n, (s, t, d) in enumerate(rows, start=1)]
    write_jsonl(segments, path)
    assert load_jsonl(path) == segments
    assert texts(list(read_jsonl(path, Reading(EN_FR)))) == texts(segments)


def test_tsv_keeps_quotes_and_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", '"Save" as\t"Enregistrer" sous ', " a\tb")
    assert texts(list(read_tsv(path, Reading(EN_FR)))) == [
        ('"Save" as', '"Enregistrer" sous '),
        (" a", "b"),
    ]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("source\ttarget", "a\tb", ("a", "b")),
        ("fr\ten", "b\ta", ("a", "b")),
        ("doc\tEN\tFR", "menu\ta\tb", ("a", "b")),
    ],
)
def test_tsv_columns_follow_a_header(
    tmp_path: Path, header: str, row: str, expected: tuple[str, str]
) -> None:
    assert texts(list(read_tsv(write(tmp_path, "a.tsv", header, row), Reading(EN_FR)))) == [
        expected
    ]


def test_tsv_reads_windows_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbfsource\ttarget\r\na\tb\r\n")
    assert texts(list(read_tsv(path, Reading(EN_FR)))) == [("a", "b")]


@pytest.mark.parametrize(("line", "hint"), [("a", "a tab is missing"), ("a\tb\tc", "other tabs")])
def test_a_bad_tsv_line_is_told_with_path_and_line(tmp_path: Path, line: str, hint: str) -> None:
    path = write(tmp_path, "a.tsv", "a\tb", line)
    with pytest.raises(DataInvalid, match=hint) as caught:
        list(read_tsv(path, Reading(EN_FR)))
    assert str(caught.value).startswith(f"{path}:2: expected 2 columns")


def test_a_line_that_is_not_utf8_is_told_with_path_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\tb\na\t\xe9\n")
    with pytest.raises(DataInvalid, match="not UTF-8") as caught:
        list(read_tsv(path, Reading(EN_FR)))
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_missing_file_says_where_paths_start(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="relative to the recipe"):
        list(read_tsv(tmp_path / "absent.tsv", Reading(EN_FR)))
