from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.jsonl import read_jsonl
from training.corpus.reading import Reading
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.score.cut import Cut
from training.score.ranking import Ranking
from training.score.run import Outcome, score
from training.score.scored import Scored

PAIR = LanguagePair("en", "fr")
ALL = Cut()


def segments(count: int) -> list[Segment]:
    return [Segment(f"s{n}", f"t{n}", "doc", "a.tsv", n, PAIR) for n in range(count)]


class Given:
    """Scores that are given."""

    signature = "given"

    def __init__(self, *scores: float | None) -> None:
        self._scores = scores

    def scores(self, segments: Sequence[Segment]) -> Iterator[float | None]:
        yield from self._scores


def run(out: Path, *scores: float | None, cut: Cut = ALL) -> Outcome:
    return score(segments(len(scores)), Given(*scores), cut, out)


def ranked(*scores: float, cut: Cut = ALL) -> Ranking:
    pairs = zip(segments(len(scores)), scores, strict=True)
    return Ranking([Scored.of_segment(*each) for each in pairs], cut)


def test_all_are_kept_in_reading_order_without_a_limit(tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.jsonl", 0.3, 0.1, 0.2)
    assert [s.source for s in load_jsonl(tmp_path / "out.jsonl")] == ["s0", "s1", "s2"]
    assert outcome.to_json()["kept"] == 3
    assert outcome.to_json()["at_limit"] == []


def test_a_share_drops_the_worst_and_keeps_the_order() -> None:
    ranking = ranked(5, 1, 4, 2, 3, cut=Cut(share=0.4))
    assert [each.score for each in ranking.kept()] == [5, 4, 3]
    assert [each.score for each in ranking.worst()] == [1, 2, 3, 4, 5]


def test_of_equal_pairs_the_later_are_kept() -> None:
    assert [s.line for s in ranked(1, 1, 1, 1, cut=Cut(share=0.5)).kept()] == [2, 3]


def test_a_least_score_keeps_what_has_it() -> None:
    ranking = ranked(0.5, 0.4999, 0.9, cut=Cut(min_score=0.5))
    assert [each.score for each in ranking.kept()] == [0.5, 0.9]


def test_at_the_limit_are_two_that_go_and_three_that_stay() -> None:
    near = ranked(*range(10), cut=Cut(share=0.5)).at_limit()
    assert [(word, each.score) for word, each in near] == [
        ("dropped", 3), ("dropped", 4), ("kept", 5), ("kept", 6), ("kept", 7),
    ]  # fmt: skip
    assert [word for word, _ in ranked(1, 2, cut=Cut(share=0.5)).at_limit()] == ["dropped", "kept"]


def test_quantiles_are_scores_of_pairs() -> None:
    found = ranked(*reversed(range(101))).quantiles()
    assert found["lowest"] == 0
    assert found["1 %"] == 1
    assert found["median"] == 50
    assert found["highest"] == 100


def test_a_file_of_scores_is_a_source(tmp_path: Path) -> None:
    run(tmp_path / "out.jsonl", 0.123456, -7)
    first, _ = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert '"score": 0.1235' in first
    read = [*read_jsonl(tmp_path / "out.jsonl", Reading(PAIR))]
    assert [(s.source, s.target, s.document) for s in read] == [
        ("s0", "t0", "doc"), ("s1", "t1", "doc"),
    ]  # fmt: skip


def test_what_has_no_score_is_left_out_and_counted(tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.jsonl", None, 1.0, None)
    assert [s.source for s in load_jsonl(tmp_path / "out.jsonl")] == ["s1"]
    assert outcome.to_json()["too_long"] == 2
    with pytest.raises(DataInvalid, match=r"none of 2 pairs fits.*max_length"):
        run(tmp_path / "out.jsonl", None, None)


@pytest.mark.parametrize("cut", [Cut(share=1.0), Cut(min_score=2.0)])
def test_a_limit_beyond_all_leaves_an_older_file_as_it_was(tmp_path: Path, cut: Cut) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("older")
    with pytest.raises(DataInvalid, match=r"none of 2 pairs is kept with --.*highest score is 1.5"):
        run(out, 1.5, 1.0, cut=cut)
    assert out.read_text() == "older"
    assert [*tmp_path.iterdir()] == [out]


def test_an_interrupt_while_writing_leaves_no_draft(tmp_path: Path) -> None:
    def stopped() -> Iterator[Segment]:
        yield segments(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(stopped(), tmp_path / "out.jsonl")
    assert not [*tmp_path.iterdir()]
