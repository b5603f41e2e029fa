from __future__ import annotations

from serving.patience import Patience


def test_who_was_passed_over_for_long_enough_is_due_until_its_turn() -> None:
    patience = Patience(2.0)
    patience.begin_step({0, 1})
    patience.pass_over(0, now=1.0)
    patience.pass_over(0, now=2.5)
    assert (patience.due(2.9), patience.due(3.0)) == (None, 1)
    patience.had_turn(1)
    assert patience.due(9.0) is None


def test_who_does_not_wait_is_not_passed_over() -> None:
    patience = Patience(2.0)
    patience.begin_step({0})
    patience.pass_over(0, now=1.0)
    patience.begin_step({0, 1})
    assert patience.due(9.0) is None


def test_who_went_away_begins_anew() -> None:
    patience = Patience(2.0)
    patience.begin_step({0, 1})
    patience.pass_over(0, now=1.0)
    patience.begin_step({0})
    patience.begin_step({0, 1})
    assert patience.due(9.0) is None


def test_better_classes_are_never_passed_over_and_the_longest_goes_first() -> None:
    patience = Patience(2.0)
    patience.begin_step({0, 1, 2})
    patience.pass_over(1, now=1.0)
    patience.pass_over(0, now=2.0)
    assert patience.due(3.0) == 2
    patience.had_turn(2)
    assert patience.due(4.0) == 1
