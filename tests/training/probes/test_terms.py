from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.term_hints import Term
from training.evaluate.probes.terms import TermList, read_term_list, term_accuracy

NODES = TermList([Term("node", "Knoten"), Term("node pool", "Knotenpool"), Term("C++", "C++")])


def accuracy(*rows: tuple[str, str], terms: TermList = NODES) -> tuple[int, int]:
    found = term_accuracy(rows, terms)
    return found.found, found.count


def test_the_share_is_of_terms_that_sources_have() -> None:
    rows = [("The Node runs", "Der KNOTEN läuft"), ("A node", "Ein Rechner"), ("Nothing", "Knoten")]
    found = term_accuracy(rows, NODES)
    assert (found.count, found.found, found.missed) == (2, 1, ((Term("node", "Knoten"), 1),))
    result = found.result()
    assert (result.name, result.value, result.count) == ("terms", 50, 2)
    assert result.examples[0].why == "expected node = Knoten"


def test_a_term_is_no_part_of_a_longer_word_or_term() -> None:
    assert accuracy(("nodes", "Knoten")) == (0, 0)
    assert accuracy(("the node", "im Datenknoten")) == (0, 1)
    assert accuracy(("a node", "die Knotens")) == (0, 1)
    assert accuracy(("a node pool", "ein Knotenpool")) == (1, 1)
    assert accuracy(("a node\npool and a node", "ein Knotenpool und ein Knoten")) == (2, 2)
    assert accuracy(("in C++.", "in C++.")) == (1, 1)
    assert accuracy(("node node", "Knoten")) == (1, 1)


def test_scripts_without_spaces_have_no_ends_of_words() -> None:
    chinese = TermList([Term("node", "节点"), Term("容器", "container")])
    assert accuracy(("a node", "一个节点池"), terms=chinese) == (1, 1)
    assert accuracy(("一个容器组", "a container"), terms=chinese) == (1, 1)


def test_one_of_several_targets_is_enough() -> None:
    either = TermList([Term("Run", "lauf"), Term("run", "ausführen"), Term("run", " ")])
    assert accuracy(("Run it", "Ausführen!"), terms=either) == (1, 1)
    missed = term_accuracy([("run", "x"), ("run", "y")], either).missed
    assert missed == ((Term("run", "lauf | ausführen"), 2),)


def test_accents_are_the_same_in_either_form_of_unicode() -> None:
    assert accuracy(("a key", "une cle\u0301"), terms=TermList([Term("key", "clé")])) == (1, 1)
    assert accuracy(("STRASSE Straße", "x"), terms=TermList([Term("Straße", "x")])) == (1, 1)


def test_without_a_term_in_any_source_there_is_no_figure() -> None:
    result = term_accuracy([("a", "b")], NODES).result()
    assert (result.value, result.count) == (None, 0)
    assert "no source has a term" in result.note


def test_a_file_of_terms_is_that_of_recipes(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("node\tKnoten\n\nnode pool\tKnotenpool \n", encoding="utf-8")
    terms = read_term_list(path, LanguagePair("en", "de"))
    assert accuracy(("a node pool", "Knotenpool"), terms=terms) == (1, 1)
    with pytest.raises(DataInvalid, match=r"none\.tsv: no such file; a list of terms is tab"):
        read_term_list(tmp_path / "none.tsv", LanguagePair("en", "de"))
    path.write_text("node\n", encoding="utf-8")
    with pytest.raises(DataInvalid, match=r"terms\.tsv:1: expected 2 columns"):
        read_term_list(path, LanguagePair("en", "de"))
