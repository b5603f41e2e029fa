from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.ids import LanguagePair
from training.corpus.segment import Segment
from training.sampling import SamplingRule, sample, shares

DE, FR = LanguagePair("en", "de"), LanguagePair("en", "fr")


def rule(temperature: float, **weights: float) -> SamplingRule:
    named = {name.replace("_", "-"): weight for name, weight in weights.items()}
    return SamplingRule.model_validate({"temperature": temperature, "weights": named})


def segments(pair: LanguagePair, count: int) -> list[Segment]:
    return [Segment(f"s{n}", f"t{n}", "d", "f", n, pair) for n in range(count)]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (rule(1.0), {DE: 100, FR: 900}),
        (rule(0.0), {DE: 500, FR: 500}),
        (rule(0.5), {DE: 250, FR: 750}),  # 10 : 30
        (rule(1.0, en_fr=0.5), {DE: 182, FR: 818}),  # 100 : 450
        (rule(0.0, en_de=3.0), {DE: 750, FR: 250}),
    ],
)
def test_shares_follow_temperature_and_weights(
    chosen: SamplingRule, expected: dict[LanguagePair, int]
) -> None:
    assert shares({DE: 100, FR: 900}, chosen) == expected


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.floats(0.1, 10))
def test_an_epoch_is_as_long_as_the_text(
    german: int, french: int, temperature: float, weight: float
) -> None:
    found = shares({DE: german, FR: french}, rule(temperature, en_de=weight))
    assert sum(found.values()) == german + french
    assert min(found.values()) >= 0


def test_a_small_pair_comes_again_and_a_large_one_in_part() -> None:
    drawn = sample([*segments(DE, 4), *segments(FR, 16)], rule(0.0), seed=0)
    times = Counter(drawn)
    german = [count for segment, count in times.items() if segment.pair == DE]
    french = [count for segment, count in times.items() if segment.pair == FR]
    assert sorted(german) == [2, 2, 3, 3]
    assert french == [1] * 10


def test_the_seed_decides_what_is_drawn() -> None:
    text = [*segments(DE, 4), *segments(FR, 16)]
    assert sample(text, rule(0.5), seed=1) == sample(text, rule(0.5), seed=1)
    assert sample(text, rule(0.5), seed=1) != sample(text, rule(0.5), seed=2)


def test_without_a_rule_every_segment_is_drawn_once_and_in_order() -> None:
    text = [*segments(FR, 3), *segments(DE, 2)]
    assert sample(text, SamplingRule(), seed=7) == text


@pytest.mark.parametrize(
    "wrong", [{"temperature": 5.0}, {"weights": {"en-de": 0.0}}, {"weights": {"german": 1.0}}]
)
def test_the_other_convention_and_impossible_weights_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingRule.model_validate(wrong)
