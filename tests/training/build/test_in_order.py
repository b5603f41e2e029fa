from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from training.build.in_order import in_order


def doubled(number: int) -> int:
    time.sleep(0.01 * (number % 3))
    return 2 * number


def refuses(number: int) -> int:
    if number == 11:
        raise ValueError("eleven")
    return number


def test_one_process_does_all_by_itself() -> None:
    assert list(in_order(lambda n: n + 1, range(30), processes=1)) == list(range(1, 31))


@pytest.mark.slow
def test_results_come_in_the_order_of_what_was_given() -> None:
    assert list(in_order(doubled, range(40), processes=2)) == [2 * n for n in range(40)]


@pytest.mark.slow
def test_an_error_in_a_process_is_told_and_ends_the_others() -> None:
    with pytest.raises(ValueError, match="eleven"):
        list(in_order(refuses, range(40), processes=2))


@pytest.mark.slow
def test_no_more_is_taken_than_is_under_way() -> None:
    taken = 0

    def given() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = in_order(doubled, given(), processes=2)
    for _ in range(20):
        next(results)
    assert taken < 35
    results.close()
