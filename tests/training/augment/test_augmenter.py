from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ids import LanguagePair
from training.augment.augmenter import Augmenter
from training.augment.pieces import LINE_BREAKS, marks
from training.augment.rules import SHARES, AugmentRules, ExamplesRule, TermsRule
from training.clean.placeholders import placeholders
from training.corpus.segment import Segment
from training.corpus.shown import Shown

EN_DE = LanguagePair("en", "de")
NOISE = ("word_dropout", "shuffle", "insertion", "typos", "punctuation", "upper", "title", "lower")
BOTH = ("upper", "title", "end_punctuation", "tags")
MARKUP = [
    "<b>", "</b>", "<a href='x y'>", "{0}", "{name}", "%s", "%(n)d", "${x}", "{{< a b >}}", "%%",
    "`x y`", "``a ` b``", "https://a.b/c?d=e", "a@b.de", "\n", "\n\n", "[a b](c.md)", "12.5",
    "100 %", "{n, plural, one {# a} other {# b}}", "|", "# ", "- ", "&nbsp;", "\u2028",
    "<", "{", "`", "%", "$",
]  # fmt: skip
WORDS = [
    "save", "file,", "Pod.", "iOS", "straße", "保存", "l'état", "ไฟล์", "हिन्दी", "!", "(now)",
    "d", "s",
]  # fmt: skip
PARTS = st.lists(st.sampled_from([*MARKUP, *WORDS]), min_size=1, max_size=9)
TEXTS = st.builds(lambda parts, gap: gap.join(parts), PARTS, st.sampled_from([" ", "", " "]))


def rules(**given: object) -> AugmentRules:
    return AugmentRules.model_validate(given)


def segment(source: str, target: str = "Ziel") -> Segment:
    return Segment(source, target, "d", "f", 1, EN_DE)


def augmenter(chosen: AugmentRules, train: Sequence[Segment], *, seed: int = 0) -> Augmenter:
    return Augmenter.of(chosen, train, pairs=[EN_DE], folder=Path(), seed=seed)


def sentences(count: int) -> list[Segment]:
    verbs = ["Open", "close", "Save", "move", "Copy"]
    return [
        segment(
            f"{verbs[n % 5]} the large file of your new project {n}, then read it slowly.",
            f"Die große Datei des neuen Projekts {n} öffnen.",
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", NOISE)
@given(source=TEXTS, target=TEXTS, seed=st.integers(0, 9))
@settings(max_examples=30)
def test_markup_and_line_breaks_survive(kind: str, source: str, target: str, seed: int) -> None:
    before = segment(source, target)
    after = augmenter(rules(**{kind: 1.0}), [before], seed=seed)(before)
    for old, new in ((source, after.source), (target, after.target)):
        assert placeholders(new) == placeholders(old)
        assert marks(new) == marks(old)
        assert [c for c in new if c in LINE_BREAKS] == [c for c in old if c in LINE_BREAKS]
        assert bool(new.strip()) == bool(old.strip())
    assert kind in BOTH or after.target == target


@given(source=TEXTS, target=TEXTS)
@settings(max_examples=50)
def test_all_kinds_at_once_keep_placeholders_equal(source: str, target: str) -> None:
    before = segment(source, target)
    every = rules(**dict.fromkeys(SHARES, 1.0), terms={"share": 1.0}, examples={"share": 1.0})
    after = augmenter(every, [before])(before)
    gained = placeholders(after.source) - placeholders(source)
    assert gained == placeholders(after.target) - placeholders(target)
    assert placeholders(source) <= placeholders(after.source)


@given(st.permutations(sentences(6)))
@settings(max_examples=5)
def test_neither_order_nor_company_changes_the_result(order: list[Segment]) -> None:
    terms, examples = TermsRule(share=0.5), ExamplesRule(share=0.5)
    chosen = rules(**dict.fromkeys(SHARES, 0.5), terms=terms, examples=examples)
    expected = {s: augmenter(chosen, sentences(6))(s) for s in sentences(6)}
    augment = augmenter(chosen, order)
    assert {s: augment(s) for s in order} == expected


def test_another_seed_changes_other_segments() -> None:
    train = sentences(50)
    one, other = (augmenter(rules(typos=0.5), train, seed=seed) for seed in (1, 2))
    assert [one(s) for s in train] != [other(s) for s in train]


def test_shares_are_what_the_recipe_says() -> None:
    share = 0.1
    train = [segment(f"Save file {n}", "Sichern") for n in range(10_000)]
    augment = augmenter(rules(upper=share, typos=share), train)
    changed = [(s, augment(s)) for s in train]
    capitals = sum(after.target.isupper() for _, after in changed) / len(train)
    assert capitals == pytest.approx(share, abs=0.01)
    assert augment.counts["upper"] == round(capitals * len(train))
    assert augment.counts["typos"] / len(train) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("kind", [*NOISE, "end_punctuation", "tags"])
def test_every_kind_changes_what_it_is_for(kind: str) -> None:
    (before,) = sentences(1)
    after = augmenter(rules(**{kind: 1.0}), [before])(before)
    assert after.source != before.source
    assert (after.target != before.target) == (kind in BOTH)


def test_a_script_without_capitals_has_no_shouts() -> None:
    augment = augmenter(rules(upper=1.0), [])
    chinese = segment("打开这个 chart", "Open this chart")
    assert augment(chinese) == chinese
    assert augment(chinese.reversed()).target == "打开这个 CHART"


def test_without_rules_nothing_is_changed() -> None:
    assert not AugmentRules().is_on
    augment = augmenter(AugmentRules(), [])
    assert [augment(s) for s in sentences(3)] == sentences(3)


def test_the_end_mark_goes_only_where_both_sides_end_alike() -> None:
    augment = augmenter(rules(end_punctuation=1.0), [])
    assert augment(segment("Go!", "Los！")) == segment("Go", "Los")
    for same in (segment("Go.", "Los!"), segment("Wait...", "Warte..."), segment("a.b", "a.b.")):
        assert augment(same) == same


def test_examples_are_similar_pairs_and_never_the_segment_itself() -> None:
    train = [
        segment("Open the file", "Datei öffnen"),
        segment("open the file.", "Datei auf"),  # the same but for case and punctuation
        segment("Close the file", "Datei schließen"),
        segment("Close the big file", "Große Datei schließen"),
        segment("Nothing in common", "Nichts"),
        Segment("Close the file", "Fermer", "d", "f", 1, LanguagePair("en", "fr")),
    ]
    augment = augmenter(rules(examples={"share": 1.0, "most": 1}), train)
    after = augment(train[0])
    assert isinstance(after, Shown)
    assert [(e.source, e.target) for e in after.examples] == [("Close the file", "Datei schließen")]
    assert (after.source, after.target) == (train[0].source, train[0].target)
    assert augment(train[4]) == train[4]
    assert augment.counts["examples"] == 1


def test_the_most_similar_example_comes_last() -> None:
    train = [segment("a b c d"), segment("a b c x", "1"), segment("a b y z", "2")]
    chosen = rules(examples={"share": 1.0, "most": 2, "min_overlap": 0.2})
    shown = [augmenter(chosen, train, seed=seed)(train[0]) for seed in range(20)]
    found = {tuple(e.target for e in s.examples) for s in shown if isinstance(s, Shown)}
    assert found == {("1",), ("2", "1")}
