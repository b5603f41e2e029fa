"""Tags, terms and the end mark: what is put into, or taken from, both sides."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.term_hints import Term, with_terms
from training.augment.rules import TermsRule
from training.augment.tags import insert_tags
from training.augment.terms import Terms, hint, read_terms
from training.clean.placeholders import placeholders
from training.corpus.segment import Segment

EN_DE = LanguagePair("en", "de")
MARKUP = ["<b>", "</b>", "{0}", "%s", "`x y`", "https://a.b/c", "\n", "12", "Kubernetes", "- "]
TEXTS = st.lists(st.sampled_from([*MARKUP, "save", "file,", "Pod.", "保存"])).map(" ".join)


def segment(source: str, target: str) -> Segment:
    return Segment(source, target, "d", "f", 1, EN_DE)


@given(TEXTS, TEXTS, st.integers(0, 99))
@settings(max_examples=50)
def test_both_sides_gain_the_same_and_lose_nothing(source: str, target: str, seed: int) -> None:
    tagged = insert_tags(segment(source, target), Random(seed))
    gained = placeholders(tagged.source) - placeholders(source)
    assert gained == placeholders(tagged.target) - placeholders(target)
    assert placeholders(source) <= placeholders(tagged.source)
    assert placeholders(target) <= placeholders(tagged.target)


@pytest.mark.parametrize(
    ("source", "target", "token"),
    [
        ("in 2024 we won", "2024 siegten wir", "2024"),
        ("see https://a.b/c now", "siehe jetzt https://a.b/c", "https://a.b/c"),
        ("Kubernetes is here", "hier ist Kubernetes", "Kubernetes"),
        ("run `a b` now", "jetzt `a b` starten", "`a b`"),
        ("in 2024.", "es war 2024.", "2024"),
    ],
)
def test_a_tag_goes_around_what_both_sides_have_once(source: str, target: str, token: str) -> None:
    tagged = insert_tags(segment(source, target), Random(1))
    name = tagged.source.partition("<")[2].partition(">")[0]
    assert tagged.source == source.replace(token, f"<{name}>{token}</{name}>")
    assert tagged.target == target.replace(token, f"<{name}>{token}</{name}>")


def test_a_tag_stands_at_the_same_end_where_nothing_is_shared() -> None:
    for seed in range(40):
        tagged = insert_tags(segment("Save it", "Speichern"), Random(seed))
        before, after = tagged.source.split("Save it")
        assert tagged.target == f"{before}Speichern{after}"
        assert before or after


@pytest.mark.parametrize("source", ["# Save", "- save", "a\nb", " save", "3. Save"])
def test_where_markup_may_begin_a_line_nothing_is_put_before_it(source: str) -> None:
    assert insert_tags(segment(source, "Sichern"), Random(1)) == segment(source, "Sichern")


def test_a_number_or_word_that_comes_twice_is_never_guessed() -> None:
    twice = segment("5 of 5", "fünf von 5")
    assert insert_tags(twice, Random(1)) == twice


def test_a_hint_is_a_line_of_terms_before_the_text() -> None:
    terms = [Term("node", "Knoten"), Term("pod  a", "Pod\na")]
    assert with_terms("Drain it", terms) == "Terms: node = Knoten; pod a = Pod a\nDrain it"
    assert with_terms("Drain it", []) == "Drain it"


def test_terms_are_hinted_where_both_sides_have_them(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("node\tKnoten\nnode pool\tKnotenpool\npod\tPod\n{0}\tx\n", encoding="utf-8")
    terms = read_terms(file, EN_DE)
    assert terms.in_both("Drain the node.", "Den Knoten leeren.") == [Term("node", "Knoten")]
    assert terms.in_both("A Node pool", "Ein Knotenpool") == [Term("node pool", "Knotenpool")]
    assert terms.in_both("nodes", "Knoten") == []
    assert terms.in_both("the node", "der Rechner") == []
    assert terms.reversed().in_both("Der Knoten", "the node") == [Term("Knoten", "node")]
    rule = TermsRule(share=1.0, file="terms.tsv", identical=False)
    hinted = hint(segment("Drain the node.", "Den Knoten leeren."), Random(1), rule, terms)
    assert hinted == segment("Terms: node = Knoten\nDrain the node.", "Den Knoten leeren.")


def test_terms_of_a_language_without_spaces_are_found_in_it() -> None:
    terms = Terms([Term("node", "节点")])
    assert terms.in_both("Drain the node", "清空节点吧") == [Term("node", "节点")]
    assert terms.reversed().in_both("清空节点吧", "Drain the node") == [Term("节点", "node")]


def test_words_that_are_the_same_on_both_sides_are_terms() -> None:
    rule = TermsRule(share=1.0, most=1)
    hinted = hint(segment("Kubernetes is up", "Kubernetes läuft"), Random(1), rule, Terms())
    assert hinted.source == "Terms: Kubernetes = Kubernetes\nKubernetes is up"
    plain = segment("It is up", "Es läuft")
    assert hint(plain, Random(1), rule, Terms()) == plain


def test_a_file_of_terms_that_is_not_there_or_not_tabbed_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"no such file; augment\.terms\.file"):
        read_terms(tmp_path / "absent.tsv", EN_DE)
    (tmp_path / "bad.tsv").write_text("a\tb\nonly one\n", encoding="utf-8")
    with pytest.raises(DataInvalid, match=r"bad\.tsv:2: expected 2 columns"):
        read_terms(tmp_path / "bad.tsv", EN_DE)
