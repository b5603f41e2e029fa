from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import InvalidId
from adapters.ids import AdapterId, AdapterRef, LanguagePair, is_alias

languages = st.from_regex(r"[a-z]{2,3}(_[a-z0-9]{2,8}){0,3}", fullmatch=True)
pairs = st.builds(LanguagePair, languages, languages)
domains = st.from_regex(r"[a-z][a-z0-9_]{0,30}(\.[a-z0-9_]{1,10})?", fullmatch=True)
ids = st.builds(AdapterId, domains, st.none() | pairs)
selectors = st.one_of(
    st.integers(1, 999_999_999).map(str),
    st.from_regex(r"[a-z][a-z0-9_.-]{0,31}", fullmatch=True),
    st.from_regex(r"sha256:[0-9a-f]{12,64}", fullmatch=True),
)


@settings(max_examples=40)
@given(pairs)
def test_a_pair_reads_back_what_it_prints(pair: LanguagePair) -> None:
    assert LanguagePair.parse(str(pair)) == pair


@settings(max_examples=40)
@given(ids)
def test_an_id_reads_back_what_it_prints(adapter_id: AdapterId) -> None:
    assert AdapterId.parse(str(adapter_id)) == adapter_id


@settings(max_examples=40)
@given(ids, selectors)
def test_a_reference_reads_back_what_it_prints(adapter_id: AdapterId, selector: str) -> None:
    ref = AdapterRef(adapter_id, selector)
    assert AdapterRef.parse(str(ref)) == ref


@given(st.text())
def test_no_text_becomes_an_id_that_is_not_a_plain_file_name(text: str) -> None:
    try:
        name = str(AdapterId.parse(text))
    except InvalidId:
        return
    assert name == text
    assert name.isascii()
    assert len(name) < 200
    assert not {"/", "\\", "\0", "\n"} & set(name)
    assert ".." not in name
    assert not name.startswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k8s",
        "k8s-en",
        "../k8s-en-fr",
        "a..b-en-fr",
        "/etc-en-fr",
        "a/b-en-fr",
        "k8s-en-fr\0",
        "k8s-en-fr\n",
        " k8s-en-fr",
        "K8s-en-fr",
        "k8s-EN-fr",
        "k8s-еn-fr",  # a Cyrillic letter  # noqa: RUF001
        "k8s-en-fr-de",
        "k8s-zh-Hant-en",
        "k8s-en-fr_" + "_".join(["aa"] * 100),
        "x" * 64 + "-en-fr",
    ],
)
def test_what_is_no_id_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidId, match="expected DOMAIN-SOURCE-TARGET") as caught:
        AdapterId.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("domain", "source", "target"),
    [("../../x", "en", "fr"), ("x-y", "en", "fr"), ("X", "en", "fr"), ("", "en", "fr")],
)
def test_an_id_built_from_parts_is_looked_at_as_well(domain: str, source: str, target: str) -> None:
    with pytest.raises(InvalidId):
        AdapterId(domain, LanguagePair(source, target))


@pytest.mark.parametrize("parts", [("en", ""), ("..", "fr"), ("en-fr", "de"), ("EN", "fr")])
def test_a_pair_built_from_parts_is_looked_at_as_well(parts: tuple[str, str]) -> None:
    with pytest.raises(InvalidId, match="expected SOURCE-TARGET"):
        LanguagePair(*parts)


@pytest.mark.parametrize(
    "selector",
    ["", "0", "01", "-1", "1.0", "٣", "1" * 5000, "Stable", "a/b", "..", "sha256:abc", "x" * 33],
)
def test_what_selects_nothing_is_refused(selector: str) -> None:
    with pytest.raises(InvalidId, match="after '@'") as caught:
        AdapterRef.parse(f"k8s-en-fr@{selector}")
    assert len(str(caught.value)) < 300


def test_a_reference_says_which_kind_it_is() -> None:
    assert AdapterRef.parse("k8s-en-fr").selector == "stable"
    assert AdapterRef.parse("k8s-en-fr@12").version == 12
    assert AdapterRef.parse("k8s-en-fr@canary").version is None
    assert AdapterRef.parse("k8s-en-fr@sha256:0123456789ab").digest == "sha256:0123456789ab"
    assert AdapterRef.parse("k8s-en-fr@stable").digest is None


def test_ids_of_one_and_of_several_pairs_sort_together() -> None:
    ids_ = [AdapterId.parse(text) for text in ("b-mul", "b-en-fr", "a-mul")]
    assert [str(i) for i in sorted(ids_)] == ["a-mul", "b-en-fr", "b-mul"]


@pytest.mark.parametrize(
    ("text", "valid"),
    [("canary", True), ("a.b-c_1", True), ("1", False), ("A", False), ("", False)],
)
def test_an_alias_starts_with_a_letter_and_is_lower_case(text: str, valid: bool) -> None:
    assert is_alias(text) is valid
