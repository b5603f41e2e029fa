"""Train, dev and test of segments, and nothing in two of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from tests.training.build.spooled import Parts, split
from training.build.keys import normalise
from training.corpus.segment import Segment
from training.corpus.source import Part
from training.split import SplitRule


def segments(count: int, *, documents: int = 1) -> list[Segment]:
    return [
        Segment(f"source {n}", f"target {n}", f"d{n % documents}", "f", n) for n in range(count)
    ]


def leaked(train: list[Segment], held_out: list[Segment]) -> set[str]:
    return {normalise(s.source) for s in train} & {normalise(s.source) for s in held_out}


def parts(found: Parts) -> tuple[list[Segment], list[Segment], list[Segment]]:
    return found.train, found.dev, found.test


@settings(max_examples=50)
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
    with TemporaryDirectory() as folder:
        try:
            found = split(Path(folder), made, rule)
        except DataInvalid:
            return
    train, dev, test = parts(found)
    assert not leaked(train, test) | leaked(train, dev) | leaked(dev, test)
    assert len(train) + len(dev) + len(test) + sum(found.removed.values()) == len(made)


def test_the_same_segments_give_the_same_split_in_any_order(tmp_path: Path) -> None:
    made = segments(500)
    first = split(tmp_path, made, SplitRule())
    shuffled = [made[n] for n in np.random.default_rng(1).permutation(len(made))]
    assert parts(split(tmp_path, shuffled, SplitRule())) == parts(first)
    assert parts(split(tmp_path, made, SplitRule(seed=1))) != parts(first)


def test_parts_have_the_sizes_asked_for(tmp_path: Path) -> None:
    found = split(tmp_path, segments(500), SplitRule(dev=50, test=100))
    assert [len(part) for part in parts(found)] == [350, 50, 100]
    assert found.removed == {"dev": 0, "train": 0}


def test_more_data_leaves_most_of_the_test_part_as_it_was(tmp_path: Path) -> None:
    before = {s.source for s in split(tmp_path, segments(1000), SplitRule()).test}
    after = {s.source for s in split(tmp_path, segments(1100), SplitRule()).test}
    assert len(before & after) > 0.8 * len(before)


def test_many_documents_are_kept_whole(tmp_path: Path) -> None:
    found = split(tmp_path, segments(900, documents=90), SplitRule(dev=40, test=100))
    assert found.by == "document"
    documents = [{s.document for s in part} for part in parts(found)]
    assert not documents[0] & documents[2] | documents[1] & documents[2]


def test_few_or_lopsided_documents_are_split_by_hash(tmp_path: Path) -> None:
    assert split(tmp_path, segments(900, documents=3), SplitRule()).by == "hash"
    lopsided = segments(90, documents=90) + [
        Segment(f"other {n}", "x", "big", "f", n) for n in range(900)
    ]
    assert split(tmp_path, lopsided, SplitRule()).by == "hash"


def test_a_source_of_two_documents_leaves_training_for_the_test_part(tmp_path: Path) -> None:
    made = segments(600, documents=60) + [
        Segment("The same everywhere.", "x", f"d{n}", "f", n) for n in range(60)
    ]
    found = split(tmp_path, made, SplitRule(by="document", dev=40, test=100))
    assert found.removed["train"] > 0
    assert not leaked(found.train, found.test)


@pytest.mark.parametrize("by", ["hash", "document"])
def test_too_few_segments_say_what_to_do(tmp_path: Path, by: str) -> None:
    with pytest.raises(DataInvalid, match=r"lower split\.test"):
        split(tmp_path, segments(100), SplitRule.model_validate({"by": by}))


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


def test_given_parts_are_what_their_sources_hold(tmp_path: Path) -> None:
    given: dict[Part, list[Segment]] = {
        "dev": text("dev", "a", "b"),
        "test": text("test", "c", "d", "e"),
    }
    found = split(tmp_path, segments(20), SplitRule(dev=7, test=9), given)
    assert (found.dev, found.test) == (given["dev"], given["test"])
    assert sorted(found.train, key=lambda s: s.line) == segments(20)
    assert found.by == "source"


def test_only_parts_that_nobody_gives_are_taken_from_the_rest(tmp_path: Path) -> None:
    found = split(tmp_path, segments(50), SplitRule(dev=7, test=9), {"test": text("test", "c")})
    assert (len(found.train), len(found.dev), len(found.test)) == (43, 7, 1)
    assert found.by == "hash"


def test_given_training_text_is_never_held_out(tmp_path: Path) -> None:
    train = text("train", *"abcdefgh")
    found = split(tmp_path, segments(20), SplitRule(dev=3, test=4), {"train": train})
    assert set(train) <= set(found.train)
    assert (len(found.train), len(found.dev), len(found.test)) == (21, 3, 4)


def test_a_given_test_source_leaves_training_and_dev_and_stays_in_the_test(tmp_path: Path) -> None:
    given: dict[Part, list[Segment]] = {
        "dev": text("dev", "Save.", "Open"),
        "test": text("test", "save", "Close"),
    }
    found = split(tmp_path, text("free", "SAVE", "open", "Move"), SplitRule(), given)
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
    tmp_path: Path, free: list[Segment], given: dict[Part, list[Segment]]
) -> None:
    with pytest.raises(DataInvalid, match="leave `part` out of one, give a source"):
        split(tmp_path, free, SplitRule(dev=3, test=4), given)


def test_what_a_share_holds_out_stays_held_out_when_the_text_grows(tmp_path: Path) -> None:
    rule = SplitRule(dev=0.05, test=0.1)
    before = split(tmp_path, segments(1000), rule)
    after = split(tmp_path, segments(3000), rule)
    assert 70 < len(before.test) < 130
    assert 30 < len(before.dev) < 70
    assert set(before.test) <= set(after.test)
    assert set(before.dev) <= set(after.dev)


def test_a_share_that_holds_out_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"lower split\.test"):
        split(tmp_path, segments(3), SplitRule(dev=0, test=0.0001))


SENTENCE = "The kubelet restarts a container of the pod when its liveness probe fails {} times"


def test_training_loses_what_is_nearly_in_the_test_part(tmp_path: Path) -> None:
    test = text("test", SENTENCE.format(3))
    free = text("free", SENTENCE.format(12) + "!", "The kubelet stops a container of another node")
    found = split(tmp_path, free, SplitRule(dev=0), {"test": test})
    assert [s.source for s in found.train] == ["The kubelet stops a container of another node"]
    assert found.removed == {"dev": 0, "train": 1}


def test_a_reversed_pair_may_not_ask_for_what_the_test_answers(tmp_path: Path) -> None:
    pair = LanguagePair("en", "fr")
    test = [Segment("One two", SENTENCE, "d", "f", 1, pair)]
    near = Segment(SENTENCE.upper(), "Un deux", "d", "f", 2, pair.reverse)
    other = Segment("Trois quatre", "Three four", "d", "f", 3, pair.reverse)
    found = split(tmp_path, [near, other], SplitRule(dev=0), {"test": test})
    assert found.train == [other]


def test_short_texts_that_differ_in_a_number_are_no_leak(tmp_path: Path) -> None:
    found = split(tmp_path, text("free", "Step 1"), SplitRule(dev=0), {"test": text("t", "Step 2")})
    assert len(found.train) == 1
