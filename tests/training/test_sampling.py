from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.segment import Mix, Segment
from training.sampling import SamplingRule, sample, shares, staged

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


def of(
    domain: str | None, count: int, *, weight: float = 1.0, replay: bool = False
) -> list[Segment]:
    mix = Mix(domain, weight, replay)
    return [Segment(f"{mix}{n}", "t", "d", "f", n, DE, mix=mix) for n in range(count)]


def portions(drawn: list[Segment]) -> dict[str | None, float]:
    counts = Counter(segment.domain for segment in drawn)
    return {domain: count / len(drawn) for domain, count in counts.items()}


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.7, 1.0])
def test_shares_of_domains_follow_their_temperature(temperature: float) -> None:
    sizes = {"law": 100, "news": 900, "web": 9000}
    text = [segment for name, size in sizes.items() for segment in of(name, size)]
    chosen = SamplingRule(domain_temperature=temperature, domain_weights={"law": 2.0})
    drawn = sample(text, chosen, seed=0)
    raw = {name: (size / 10_000) ** temperature for name, size in sizes.items()}
    raw["law"] *= 2
    assert len(drawn) == 10_000
    expected = {name: share / sum(raw.values()) for name, share in raw.items()}
    assert portions(drawn) == pytest.approx(expected, abs=0.01)


def test_domains_are_shared_out_within_each_pair() -> None:
    french = [Segment(f"f{n}", "t", "d", "f", n, FR, mix=Mix("law")) for n in range(900)]
    text = [*of("law", 25), *of("web", 75), *french]
    drawn = sample(text, SamplingRule(temperature=0.0, domain_temperature=0.0), seed=0)
    assert Counter((s.pair, s.domain) for s in drawn) == {
        (DE, "law"): 250,
        (DE, "web"): 250,
        (FR, "law"): 500,
    }


def test_a_source_of_twice_the_weight_comes_twice_as_often() -> None:
    drawn = sample([*of(None, 600, weight=2.0), *of(None, 600)], SamplingRule(), seed=0)
    assert Counter(s.mix.weight for s in drawn) == {2.0: 800, 1.0: 400}


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_replay_is_its_share_of_an_epoch_that_has_all_other_text(share: float) -> None:
    own, again = of("law", 800), of(None, 9_000, replay=True)
    drawn = sample([*own, *again], SamplingRule(replay=share), seed=0)
    assert sum(s.mix.replay for s in drawn) / len(drawn) == pytest.approx(share, abs=0.01)
    assert [s for s in drawn if not s.mix.replay] == own


def test_a_little_replay_comes_again_and_again() -> None:
    drawn = sample([*of("law", 90), *of(None, 5, replay=True)], SamplingRule(replay=0.1), seed=0)
    assert Counter(Counter(s for s in drawn if s.mix.replay).values()) == {2: 5}


def test_stages_are_shares_of_the_training_with_domains_of_their_own() -> None:
    text = [*of("law", 1000), *of("web", 3000)]
    chosen = SamplingRule.model_validate(
        {
            "stages": [
                {"until": 0.25, "domains": {"law": 0.0}},
                {"until": 1.0, "domains": {"law": 3.0}},
            ]
        }
    )
    first, second = staged(text, chosen, seed=0, epochs=2)
    assert (len(first), len(second)) == (2000, 6000)
    assert portions(first) == {"web": 1.0}
    assert portions(second) == {"law": 0.5, "web": 0.5}
    # The second stage goes on where the first one stopped.
    assert set(Counter([*first, *second][:3000]).values()) <= {1, 2}
    assert len({s for s in [*first, *second] if s.domain == "web"}) == 3000
    assert staged(text, chosen, seed=0, epochs=2) == [first, second]
    assert sum(map(len, staged(text, chosen, seed=0, epochs=2, most=400))) == 400


def test_a_stage_without_text_is_told() -> None:
    chosen = SamplingRule.model_validate(
        {"stages": [{"until": 0.5, "domains": {"law": 0}}, {"until": 1.0}]}
    )
    with pytest.raises(DataInvalid, match=r"stage until 0\.5 has no text"):
        staged(of("law", 10), chosen, seed=0, epochs=1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40)), min_size=1, max_size=6))
def test_the_same_text_rule_and_seed_give_the_same_epoch(sizes: list[tuple[str, int]]) -> None:
    text = [segment for name, size in sizes for segment in of(name, size, weight=float(size))]
    chosen = SamplingRule(domain_temperature=0.5)
    drawn = sample(text, chosen, seed=3)
    assert sample(text, chosen, seed=3) == drawn
    assert len(drawn) == len(text)


def test_a_segment_keeps_its_part_in_training_through_a_file() -> None:
    (segment,) = of("law", 1, weight=2.0, replay=True)
    assert segment.to_json() | {"domain": "law", "weight": 2.0, "replay": True} == segment.to_json()
    assert Segment.from_json(segment.to_json()) == segment
    assert segment.reversed().domain == "law"
    assert not {"domain", "weight", "replay"} & segments(DE, 1)[0].to_json().keys()
