from __future__ import annotations

import random
import statistics
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ids import LanguagePair
from training.corpus.segment import Mix, Segment
from training.inspection.histogram import CHARS, RATIOS, Histogram, together
from training.inspection.lengths import Lengths
from training.inspection.profile import Profile

EN_FR = LanguagePair("en", "fr")


def segment(
    source: str, target: str, *, line: int = 1, pair: LanguagePair | None = EN_FR
) -> Segment:
    return Segment(source, target, "doc", "/data/a.tmx", line, pair)


def test_sizes_are_by_pair_and_part() -> None:
    profile = Profile()
    profile.add("train", segment("Save", "Enregistrer"))
    profile.add("train", segment("Open", "Ouvrir"))
    profile.add("test", segment("a", "b", pair=EN_FR.reverse))
    profile.add("dev", segment("a", "b", pair=None))
    body = profile.to_json()
    assert body["sizes"][0] == {
        "pair": "en-fr", "domain": "", "part": "train",
        "segments": 2, "source_chars": 8, "target_chars": 17,
    }  # fmt: skip
    assert [size["pair"] for size in body["sizes"]] == ["en-fr", "fr-en", ""]
    assert body["chars"]["target"] == {"shortest": 1, "median": 4, "p95": 6, "longest": 11}
    assert [s["source"] for s in body["samples"]["test"]] == ["a"]


def test_sizes_are_by_domain_too() -> None:
    profile = Profile()
    for domain in ("legal", "medical", "legal"):
        profile.add("train", segment("a", "b").of(EN_FR, Mix(domain)))
    sizes = profile.to_json()["sizes"]
    assert {size["domain"]: size["segments"] for size in sizes} == {"legal": 2, "medical": 1}


def test_nothing_is_a_profile_too() -> None:
    body = Profile().to_json()
    assert body["sizes"] == []
    assert body["samples"] == {}
    assert body["chars"]["source"] == {"shortest": 0, "median": 0, "p95": 0, "longest": 0}
    assert sum(body["histograms"]["ratio"]["segments"]) == 0


def test_samples_do_not_depend_on_the_order_and_are_spread() -> None:
    every = [segment(f"text {n}", "x", line=n) for n in range(1000)]
    shuffled = random.Random(0).sample(every, len(every))
    profiles = [Profile(), Profile()]
    for profile, segments in zip(profiles, (every, shuffled), strict=True):
        for one in segments:
            profile.add("train", one)
    first, second = (profile.to_json()["samples"]["train"] for profile in profiles)
    assert first == second
    assert len(first) == 8
    assert max(sample["line"] for sample in first) > 300


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9_999), min_size=1))
def test_figures_of_lengths_are_exact(values: list[int]) -> None:
    lengths = Lengths()
    for value in values:
        lengths.add(value)
    shown = lengths.to_json()
    assert shown["median"] == round(statistics.median(values))
    assert (shown["shortest"], shown["longest"]) == (min(values), max(values))
    assert shown["p95"] == sorted(values)[int(0.95 * (len(values) - 1))]


def test_lengths_beyond_ten_thousand_are_within_one_percent() -> None:
    lengths = Lengths()
    for n in range(101):
        lengths.add(1_234_567 + n)
    assert lengths.to_json()["median"] == pytest.approx(1_234_617, rel=0.01)
    assert lengths.to_json()["longest"] == 1_234_667


@pytest.mark.parametrize(("value", "bin_"), [
    (1, (1, 2)), (3, (3, 4)), (5, (4, 6)), (11, (8, 12)), (12, (12, 16)), (1000, (768, 1024)),
])  # fmt: skip
def test_bins_of_lengths_begin_with_their_edge(value: int, bin_: tuple[int, int]) -> None:
    histogram = Histogram(CHARS)
    histogram.add(value)
    assert together(n=histogram) == {"edges": [*bin_], "n": [1]}


def test_what_is_beyond_the_edges_is_in_the_end_bins() -> None:
    histogram = Histogram(RATIOS)
    for ratio in (0, 0.01, 1.0, 1.1, 100):
        histogram.add(ratio)
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1
    body = together(segments=histogram)
    place = body["edges"].index(1.0)
    assert body["segments"][place] == 2
    assert len(body["edges"]) == len(body["segments"]) + 1


def test_histograms_are_cut_to_where_there_is_something() -> None:
    one, other = Histogram(CHARS), Histogram(CHARS)
    one.add(4)
    other.add(9)
    assert together(a=one, b=other) == {"edges": [4, 6, 8, 12], "a": [1, 0, 0], "b": [0, 0, 1]}


def test_memory_does_not_grow_with_the_text() -> None:
    profile = Profile()
    for n in range(2_000):
        profile.add("train", segment("x" * (n % 700 + 1), "y", line=n))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(8_000):
        profile.add("train", segment("x" * (n % 700 + 1), "y", line=n))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 50_000
