from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from training.augment import casing
from training.augment.noise import (
    Vocabulary,
    drop_punctuation,
    drop_words,
    insert_words,
    misspell,
    shuffle_words,
)
from training.augment.pieces import words_of

TEXT = "Open the very first file of `a b` now, then close every other one!"


def test_dropped_words_are_a_share_and_never_all() -> None:
    kept = words_of(drop_words(TEXT, Random(1), share=0.5))
    assert len(kept) == 6
    assert not Counter(kept) - Counter(words_of(TEXT))
    assert len(words_of(drop_words("Open file", Random(1), share=1.0))) == 1
    assert drop_words("Open", Random(1), share=1.0) == "Open"


def test_a_dropped_word_leaves_no_double_space() -> None:
    for seed in range(20):
        assert "  " not in drop_words(TEXT, Random(seed), share=0.3)


@pytest.mark.parametrize("distance", [1, 3])
def test_no_word_moves_further_than_it_may(distance: int) -> None:
    text = " ".join(f"w{chr(97 + n)}" for n in range(26))
    for seed in range(20):
        moved = words_of(shuffle_words(text, Random(seed), distance=distance))
        places = [abs(words_of(text).index(word) - place) for place, word in enumerate(moved)]
        assert max(places) <= distance
        assert moved != words_of(text)


def test_words_stay_on_their_side_of_markup_and_in_their_line() -> None:
    text = "one two three `code` four five\nsix seven"
    for seed in range(20):
        left, right = shuffle_words(text, Random(seed), distance=9).split(" `code` ")
        middle, last = right.split("\n")
        assert sorted(left.split()) == ["one", "three", "two"]
        assert sorted(middle.split()) == ["five", "four"]
        assert sorted(last.split()) == ["seven", "six"]


def test_inserted_words_are_of_the_corpus_as_often_as_it_has_them() -> None:
    vocabulary = Vocabulary(["rare common", "common `code` common"])
    drawn = Counter(vocabulary.draw(Random(seed)) for seed in range(400))
    assert set(drawn) == {"rare", "common"}
    assert drawn["common"] > 2 * drawn["rare"]
    text = insert_words(TEXT, Random(3), share=0.3, vocabulary=vocabulary)
    assert len(text) > len(TEXT)
    assert set(words_of(text)) <= {*words_of(TEXT), "rare", "common"}


def test_the_order_of_a_corpus_does_not_change_what_is_drawn_of_it() -> None:
    texts = ["a b c", "c d", "e"]
    one, other = Vocabulary(texts), Vocabulary(texts[::-1])
    assert [one.draw(Random(n)) for n in range(9)] == [other.draw(Random(n)) for n in range(9)]


def test_a_typo_is_a_swapped_a_missing_or_a_doubled_letter() -> None:
    found = {misspell("word", Random(seed), share=1.0) for seed in range(200)}
    swaps, drops = {"owrd", "wrod", "wodr"}, {"ord", "wrd", "wod", "wor"}
    assert found == swaps | drops | {"wword", "woord", "worrd", "wordd"}
    assert misspell("an `ox` 42", Random(1), share=1.0) == "an `ox` 42"


def test_punctuation_goes_and_what_only_looks_like_it_stays() -> None:
    text = "Wait, then: run a.b (now). Que faire ? `x.` at 10:30..."
    assert drop_punctuation(text) == "Wait then run a.b (now) Que faire `x.` at 10:30..."
    assert drop_punctuation("打开文件，保存。") == "打开文件保存"


def test_casing_is_of_words_only() -> None:
    text = "Open the file `a` of {name} with iOS or PDF"
    assert casing.upper(text, "en") == "OPEN THE FILE `a` OF {name} WITH IOS OR PDF"
    assert casing.title(text, "en") == "Open The File `a` Of {name} With iOS Or PDF"
    assert casing.lower(text, "en") == "open the file `a` of {name} with ios or pdf"


def test_turkish_has_capitals_of_its_own() -> None:
    assert casing.upper("dizin", "tr") == "DİZİN"
    assert casing.title("izle", "tr") == "İzle"
    assert casing.lower("IŞIK İÇİN", "tr") == "\u0131ş\u0131k için"
