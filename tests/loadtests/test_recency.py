from __future__ import annotations

import pytest

from loadtests.recency import Recency, Tiers

NAMES = [f"a{n}" for n in range(8)]


def test_tiers_follow_the_order_of_use() -> None:
    recency = Recency(NAMES, Tiers(slots=2, memory=5))
    assert recency.on_disk(3) == ["a0", "a1", "a2"]
    assert recency.in_memory(3) == ["a3", "a4", "a5"]
    assert recency.in_slots(2) == ["a6", "a7"]
    recency.touch("a0")
    assert recency.on_disk(3) == ["a1", "a2", "a3"]
    assert recency.in_slots(2) == ["a7", "a0"]


def test_asking_the_oldest_in_memory_first_never_meets_a_slot() -> None:
    recency = Recency(NAMES, Tiers(slots=2, memory=5))
    for name in recency.in_memory(3):
        assert name not in recency.in_slots(2)
        recency.touch(name)


def test_too_few_adapters_on_disk_are_refused() -> None:
    with pytest.raises(ValueError, match="4 adapters on disk are wanted, there are 3"):
        Recency(NAMES, Tiers(slots=2, memory=5)).on_disk(4)
