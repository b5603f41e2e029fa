from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.strict.document import parse, parse_scalar

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["C", "Z"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(json_values)
def test_json_is_read_as_json(value: object) -> None:
    document = parse(json.dumps({"key": value}, ensure_ascii=False), "f.yaml")
    assert not document.faults
    assert document.values == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1E3", 1000.0),
        ("-12", -12),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("2024-01-02", "2024-01-02"),
        ("1:30", "1:30"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'5e-4'", "5e-4"),
        ("[a, 1]", ["a", 1]),
        ("a: b: c", "a: b: c"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_scalar(text) == value


def test_every_key_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  - c: 2\n    d: 3\n", "f.yaml")
    assert document.place_of(("b", 0, "d")) == "f.yaml:4"
    assert document.place_of(("b", 0, "absent")) == "f.yaml:3"


def test_duplicate_keys_are_faults_that_name_both_lines() -> None:
    faults = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "f.yaml").faults
    assert [fault.where for fault in faults] == ["f.yaml:4", "f.yaml:5"]
    assert "first at f.yaml:3" in faults[0].message


def test_broken_yaml_names_the_line() -> None:
    (fault,) = parse("a: 1\nb: [1, 2\nc: 3\n", "f.yaml").faults
    assert fault.where == "f.yaml:3"


@pytest.mark.parametrize(
    "text", ["a: &x {b: *x}", "a: &x [1]\nb: *x", "a: !!python/name:os.system"]
)
def test_aliases_and_tags_are_faults(text: str) -> None:
    assert parse(text, "f.yaml").faults


@given(st.text())
def test_no_text_makes_the_reader_raise(text: str) -> None:
    parse(text, "f.yaml")
