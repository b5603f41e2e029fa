from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.clean.placeholders import placeholders
from training.clean.rules import CleanRules, rules_of
from training.clean.run import clean
from training.corpus.segment import Segment


def pair(source: str, target: str) -> Segment:
    return Segment(source, target, "doc", "f.po", 1)


def broken_rule(source: str, target: str, **rules: object) -> str | None:
    _, report = clean([pair(source, target)], rules_of(CleanRules.model_validate(rules)))
    return next((name for name, count in report.dropped.items() if count), None)


@pytest.mark.parametrize(
    ("source", "target", "rule"),
    [
        ("", "a", "empty"),
        ("a", " \n", "empty"),
        ("Python", "Python", "identical"),
        ("Python ", "Python", "identical"),
        ("a" * 1001, "b", "too_long"),
        ("a", "b" * 1001, "too_long"),
        ("Save", "Enregistrer le document en cours et quitter", "length_ratio"),
        ("%s files", "fichiers", "placeholders"),
        ("files", "%s fichiers", "placeholders"),
        ("{name} and {name}", "{name}", "placeholders"),
        ("<b>Bold</b>", "<b>Gras<b>", "placeholders"),
        ("Add", "Hinzufügen", None),
        ("OK", "D'accord", None),
        ("  - a\n\n\tb ", "  - c\n\n\td ", None),
        ("Show %s of %s", "%s sur %s", None),
        ("Delete the selected notebook cells", "删除单元", None),
    ],
)
def test_a_pair_is_dropped_by_the_rule_that_it_breaks(
    source: str, target: str, rule: str | None
) -> None:
    assert broken_rule(source, target) == rule


def test_rules_can_be_switched_off() -> None:
    assert broken_rule("Python", "Python", drop_identical=False) is None
    assert broken_rule("%s", "nothing", match_placeholders=False) is None
    pairs = [pair("a", "b"), pair("a", "b"), pair("a", "c")]
    assert len(clean(pairs, rules_of(CleanRules(drop_duplicates=False)))[0]) == 3


def test_of_duplicates_the_first_is_kept_and_both_kinds_are_counted() -> None:
    pairs = [pair("a", "b"), pair("a", "b"), pair("a", "c"), pair("A", "b")]
    kept, report = clean(pairs, rules_of(CleanRules()))
    assert kept == [pairs[0], pairs[3]]
    assert (report.dropped["duplicate"], report.dropped["other_translation"]) == (1, 1)


def test_a_few_of_the_dropped_are_shown_per_rule() -> None:
    pairs = [pair(f"Name {n}", f"Name {n}") for n in range(50)]
    _, report = clean(pairs, rules_of(CleanRules()))
    assert report.dropped["identical"] == 50
    assert 0 < len(report.samples["identical"]) < 10


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8))))
def test_every_pair_is_kept_unchanged_or_counted_once(texts: list[tuple[str, str]]) -> None:
    pairs = [pair(source, target) for source, target in texts]
    kept, report = clean(iter(pairs), rules_of(CleanRules()))
    assert report.read == len(pairs) == len(kept) + sum(report.dropped.values())
    assert all(any(segment is known for known in pairs) for segment in kept)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%s of %d, %(name)s, %1$s, %.2f", ["%(name)s", "%.2f", "%1$s", "%d", "%s"]),
        ("%1 of %2", ["%1", "%2"]),
        ("{} {0} {name} {{x}} ${y} {n:.1f}", ["${y}", "{0}", "{n:.1f}", "{name}", "{{x}}", "{}"]),
        ('<a href="x">y</a><br/>', ["</a>", "<a>", "<br>"]),
        ("100 % of it, 100% sure, %% done", []),
        ("a < b and c > d", []),
        ("{not a placeholder}", []),
    ],
)
def test_placeholders_are_what_must_be_carried_over(text: str, found: list[str]) -> None:
    assert sorted(placeholders(text).elements()) == found


def test_attributes_of_a_tag_may_be_translated() -> None:
    assert placeholders('<a title="Help">') == placeholders('<A title="Aide">')
