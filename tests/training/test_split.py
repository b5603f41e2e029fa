from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from training.corpus.segment import Segment
from training.split import Split, SplitRule, leaked, normalise, split


def segments(count: int, *, documents: int = 1) -> list[Segment]:
    return [
        Segment(f"source {n}", f"target {n}", f"d{n % documents}", "f", n) for n in range(count)
    ]


def parts(found: Split) -> tuple[list[Segment], list[Segment], list[Segment]]:
    return found.train, found.dev, found.test


@given(
    st.lists(
        st.sampled_from(["Save", "save", "Save.", "Open…", "Open", "a  b", "a b!", *"cdefghij"]),
        min_size=40,
        max_size=80,
    ),
    st.integers(0, 5),
    st.sampled_from(["auto", "document", "hash"]),
)
def test_no_normalised_source_is_in_two_parts(sources: list[str], seed: int, by: str) -> None:
    made = [Segment(s, s, f"d{n % 7}", "f", n) for n, s in enumerate(sources)]
    rule = SplitRule.model_validate({"by": by, "dev": 2, "test": 4, "seed": seed})
    try:
        found = split(made, rule)
    except DataInvalid:
        return
    train, dev, test = parts(found)
    assert not leaked(train, test) | leaked(train, dev) | leaked(dev, test)
    assert len(train) + len(dev) + len(test) + found.removed == len(made)


def test_the_same_segments_give_the_same_split_in_any_order() -> None:
    made = segments(500)
    first = split(made, SplitRule())
    shuffled = [made[n] for n in np.random.default_rng(1).permutation(len(made))]
    assert parts(split(shuffled, SplitRule())) == parts(first)
    assert parts(split(made, SplitRule(seed=1))) != parts(first)


def test_parts_have_the_sizes_asked_for() -> None:
    found = split(segments(500), SplitRule(dev=50, test=100))
    assert found.counts() == {
        "by": "hash", "train": 350, "dev": 50, "test": 100, "removed_as_leak": 0,
    }  # fmt: skip


def test_more_data_leaves_most_of_the_test_part_as_it_was() -> None:
    before = {s.source for s in split(segments(1000), SplitRule()).test}
    after = {s.source for s in split(segments(1100), SplitRule()).test}
    assert len(before & after) > 0.8 * len(before)


def test_many_documents_are_kept_whole() -> None:
    found = split(segments(900, documents=90), SplitRule(dev=40, test=100))
    assert found.by == "document"
    documents = [{s.document for s in part} for part in parts(found)]
    assert not documents[0] & documents[2] | documents[1] & documents[2]


def test_few_or_lopsided_documents_are_split_by_hash() -> None:
    assert split(segments(900, documents=3), SplitRule()).by == "hash"
    lopsided = segments(90, documents=90) + [
        Segment(f"other {n}", "x", "big", "f", n) for n in range(900)
    ]
    assert split(lopsided, SplitRule()).by == "hash"


def test_a_source_of_two_documents_leaves_training_for_the_test_part() -> None:
    made = segments(600, documents=60) + [
        Segment("The same everywhere.", "x", f"d{n}", "f", n) for n in range(60)
    ]
    found = split(made, SplitRule(by="document", dev=40, test=100))
    assert found.removed > 0
    assert not leaked(found.train, found.test)


@pytest.mark.parametrize("by", ["hash", "document"])
def test_too_few_segments_say_what_to_do(by: str) -> None:
    with pytest.raises(DataInvalid, match=r"lower split\.test"):
        split(segments(100), SplitRule.model_validate({"by": by}))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Save", "SAVE"), ("Save", " Save… "), ("a\n b", "a b"), ("Straße", "STRASSE"), ("x?!", "x")],
)
def test_leakage_ignores_case_spacing_and_closing_punctuation(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_leakage_tells_words_and_placeholders_apart() -> None:
    assert normalise("Save %1") != normalise("Save %2")
    assert normalise("Save as") != normalise("Save")
