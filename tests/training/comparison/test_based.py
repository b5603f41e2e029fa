"""The base as a row: which examples it is shown, and which time counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from training.comparison.answered import Answered, Clock, Trained
from training.comparison.based import Memory
from training.corpus.segment import Segment

TRAIN = [
    Segment(source, source.upper(), "d", "f", 1)
    for source in (
        "Open the settings of the server",
        "Close all of the open tabs now",
        "Restart the kernel of the notebook",
        "Restart the kernel",
    )
]


def sources(memory: Memory, text: str) -> list[str]:
    return [example.source for example in memory.examples_of(Segment(text, "", "", "", 1))]


def test_a_memory_shows_the_nearest_pairs_and_the_nearest_last() -> None:
    shown = sources(Memory(TRAIN, 2), "Restart the kernel of this notebook")
    assert shown == ["Restart the kernel", "Restart the kernel of the notebook"]


def test_where_nothing_is_near_the_fixed_examples_fill_up_and_none_comes_twice() -> None:
    memory = Memory(TRAIN, 2)
    assert sources(memory, "Bonjour") == [TRAIN[0].source, TRAIN[1].source]
    assert sources(memory, "tabs")[-1] == TRAIN[1].source
    assert len({*sources(memory, "tabs")}) == 2


def test_a_segment_is_never_its_own_example() -> None:
    assert TRAIN[3].source not in sources(Memory(TRAIN, 3), "restart the kernel!")


def test_the_clock_leaves_out_what_only_chose_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 10.0, 30.0, 100.0, 107.0])
    fake = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("training.comparison.answered.time", fake)
    clock = Clock(skip=4)  # 0: began
    clock.advance(0)  # 10: loaded
    clock.advance(2)  # 30
    clock.advance(2)  # 100: all that chose is done
    clock.advance(8)
    assert clock.seconds == 7.0


def test_answers_come_back_from_their_file_as_they_were() -> None:
    trained = Trained({"rank": 4}, [[1, 2.0]], [[2, 1.5]])
    kept = Answered(["a", "b"], 4.0, None, 10, "what", {"n": "1"}, trained, 1)
    assert Answered.from_json(kept.to_json()) == kept
    assert kept.per_segment() == {
        "prompt_tokens": None,
        "completion_tokens": 5.0,
        "segments_per_s": 0.5,
    }
