from __future__ import annotations

from training.clean.rules import Cleaner, CleanRules
from training.clean.speed import made_pairs, pairs_per_s


def test_the_speed_is_that_of_good_pairs_the_same_for_everyone() -> None:
    pairs = made_pairs(200)
    assert pairs == made_pairs(200)
    cleaner = Cleaner(CleanRules())
    assert [pair for pair in pairs if cleaner.broken(pair)] == []
    assert pairs_per_s(cleaner, pairs, 1) > 0
