from __future__ import annotations

import random

import pytest

from training.build.near import BANDS, bands, jaccard, triples

NEAR = 0.8

SENTENCE = "The kubelet restarts a container of the pod when its liveness probe fails three times"


@pytest.mark.parametrize(
    "other",
    [
        SENTENCE.upper(),
        f"{SENTENCE}!",
        SENTENCE.replace(" a ", "\n a "),
        f"{SENTENCE} again",
    ],
)
def test_texts_are_near_but_for_case_punctuation_and_a_word(other: str) -> None:
    assert jaccard(triples(SENTENCE), triples(other)) >= NEAR


def test_every_number_is_the_same_number() -> None:
    one, other = ("Step {}: restart node {} and wait.".format(*n) for n in ((1, 22), (7, 3)))
    assert triples(one) == triples(other) != frozenset()


@pytest.mark.parametrize(
    "other",
    [
        "The kubelet stops a container of the node if its startup probe fails too many times",
        "Open file",
        "",
    ],
)
def test_other_texts_are_not_near(other: str) -> None:
    assert jaccard(triples(SENTENCE), triples(other)) < NEAR


def test_short_texts_are_near_nothing_not_even_themselves() -> None:
    assert triples("Open the file") == frozenset()
    assert not bands(triples("Open the file")).any()
    assert jaccard(frozenset(), frozenset()) == 0.0


def test_chinese_is_compared_by_its_characters() -> None:
    one, other = "节点上的容器会被自动重新启动", "节点上的容器会被自动重新启动了"
    assert jaccard(triples(one), triples(other)) >= NEAR


@pytest.mark.parametrize("seed", range(20))
def test_near_texts_share_a_band_and_others_do_not(seed: int) -> None:
    made = random.Random(seed)
    words, others = (["".join(made.choices("abcdefgh", k=5)) for _ in range(120)] for _ in "12")
    one, near, other = (triples(" ".join(w)) for w in (words, words[:60] + words[61:], others))
    assert jaccard(one, near) >= 0.95
    assert (bands(one) == bands(near)).any()
    assert not (bands(one) == bands(other)).any()
    assert bands(one).shape == (BANDS,)
