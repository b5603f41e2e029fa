from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from training.corpus.segment import Segment
from training.corpus.source import Part
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
    assert len(train) + len(dev) + len(test) + sum(found.removed.values()) == len(made)


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
    assert found.removed["train"] > 0
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


def text(part: str, *sources: str) -> list[Segment]:
    return [
        Segment(source, f"{source} in French", part, part, n) for n, source in enumerate(sources)
    ]


def test_given_parts_are_what_their_sources_hold() -> None:
    given: dict[Part, list[Segment]] = {
        "dev": text("dev", "a", "b"),
        "test": text("test", "c", "d", "e"),
    }
    found = split(segments(20), SplitRule(dev=7, test=9), given)
    assert (found.dev, found.test) == (given["dev"], given["test"])
    assert sorted(found.train, key=lambda s: s.line) == segments(20)
    assert found.by == "source"


def test_only_parts_that_nobody_gives_are_taken_from_the_rest() -> None:
    found = split(segments(50), SplitRule(dev=7, test=9), {"test": text("test", "c")})
    assert (len(found.train), len(found.dev), len(found.test)) == (43, 7, 1)
    assert found.by == "hash"


def test_given_training_text_is_never_held_out() -> None:
    train = text("train", *"abcdefgh")
    found = split(segments(20), SplitRule(dev=3, test=4), {"train": train})
    assert set(train) <= set(found.train)
    assert (len(found.train), len(found.dev), len(found.test)) == (21, 3, 4)


def test_a_given_test_source_leaves_training_and_dev_and_stays_in_the_test() -> None:
    given: dict[Part, list[Segment]] = {
        "dev": text("dev", "Save.", "Open"),
        "test": text("test", "save", "Close"),
    }
    found = split(text("free", "SAVE", "open", "Move"), SplitRule(), given)
    assert [s.source for s in found.test] == ["save", "Close"]
    assert [s.source for s in found.dev] == ["Open"]
    assert [s.source for s in found.train] == ["Move"]
    assert found.removed == {"dev": 1, "train": 2}


@pytest.mark.parametrize(
    ("free", "given"),
    [
        ([], {"train": text("train", "a", "b")}),
        ([], {"train": text("train", "a"), "test": text("test", "b")}),
        ([], {"dev": text("dev", "a"), "test": text("test", "b")}),
        (segments(5), {"train": text("train", "a")}),
    ],
)
def test_a_part_that_neither_is_given_nor_can_be_taken_is_told(
    free: list[Segment], given: dict[Part, list[Segment]]
) -> None:
    with pytest.raises(DataInvalid, match="leave `part` out of one, give a source"):
        split(free, SplitRule(dev=3, test=4), given)
