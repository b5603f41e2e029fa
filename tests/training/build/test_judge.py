from __future__ import annotations

import json
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from training.build.judge import Chunk, Judge
from training.clean.rules import CleanRules
from training.corpus.segment import Segment


def pair(source: str, target: str) -> Segment:
    return Segment(source, target, "doc", "f.po", 1)


def test_a_few_of_the_dropped_are_shown_per_rule() -> None:
    pairs = [pair(f"Name {n}", f"Name {n}") for n in range(50)]
    report = Judge(CleanRules(), 0)(Chunk(0, pairs)).report
    assert report.dropped["identical"] == 50
    assert 0 < len(report.samples["identical"]) < 10


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1))
def test_every_pair_is_kept_unchanged_or_counted_once(texts: list[tuple[str, str]]) -> None:
    pairs = [pair(source, target) for source, target in texts]
    judged = Judge(CleanRules(), 0)(Chunk(0, pairs))
    kept = [Segment.from_json(json.loads(line)) for line in judged.lines.splitlines()]
    report = judged.report
    assert report.read == len(pairs) == len(kept) + sum(report.dropped.values())
    assert all(segment in pairs for segment in kept)
    assert all(len(column) == len(kept) for column in judged.columns.values())


def test_a_judge_in_another_process_says_the_same() -> None:
    chunk = Chunk(0, [pair("Save", "Garder"), pair("a", "a"), pair("%s", "b")])
    judge = Judge(CleanRules(), 3)
    one, other = judge(chunk), pickle.loads(pickle.dumps(judge))(chunk)  # noqa: S301 - our own
    assert (one.lines, one.report) == (other.lines, other.report)
