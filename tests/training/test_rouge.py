from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluate.rouge import ROUGES, longest_common, rouge, unicode_words

FRENCH = (
    "L'été dernier, l'équipe a publié une nouvelle version du noyau.",
    "La version du noyau publiée cet été par l'équipe corrige l'erreur.",
)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        # Computed by rouge-score 0.1.2 with RougeScorer(..., tokenizer=unicode_words).
        (*FRENCH, (56.0, 26.08695652, 24.0)),
        ("le chat dort", "le chat dort", (100.0, 100.0, 100.0)),
        ("le chat", "un chien", (0.0, 0.0, 0.0)),
        ("a b c d e", "e d c b a", (100.0, 0.0, 20.0)),
        ("the the the cat", "the cat sat on the mat", (60.0, 25.0, 40.0)),
        ("mot", "mot", (100.0, 0.0, 100.0)),
        ("", "mot", (0.0, 0.0, 0.0)),
        ("今日は晴れ", "今日は雨", (66.66666667, 57.14285714, 66.66666667)),
    ],
)
def test_figures_are_those_of_rouge_score(
    hypothesis: str, reference: str, expected: tuple[float, ...]
) -> None:
    found = rouge([hypothesis], [reference])
    assert [found[name].value for name in ROUGES] == pytest.approx(expected)


def test_a_corpus_score_is_the_mean_of_its_segments_with_a_signature() -> None:
    found = rouge(["le chat", "un chien"], ["le chat", "le chat"])
    assert found["ROUGE-1"].value == 50.0
    assert all("tok:unicode-words" in scored.signature for scored in found.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L'Été, c'est-à-dire 30 °C !", ["l", "été", "c", "est", "à", "dire", "30", "c"]),
        ("E\u0301te\u0301", ["été"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("日本語のkernel 6.1", ["日", "本", "語", "の", "kernel", "6", "1"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("…", []),
    ],
)
def test_words_are_those_of_any_script(text: str, words: list[str]) -> None:
    assert unicode_words(text) == words


words = st.lists(st.sampled_from("abcd"), max_size=14)


@given(words, words)
def test_the_longest_common_subsequence_is_the_textbooks(one: list[str], other: list[str]) -> None:
    @lru_cache
    def length(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    assert longest_common(one, other) == length(len(one), len(other))
