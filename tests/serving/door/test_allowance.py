from __future__ import annotations

from typing import Any

import pytest

from adapters.errors import RateLimited, TooManyAtOnce
from serving.door.allowance import Allowances
from serving.door.key import Key, hash_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(**limits: Any) -> Key:
    return Key(name="k", hash=hash_of("s"), **limits)


def test_a_minutes_worth_may_come_at_once_and_the_rest_waits_exactly() -> None:
    clock, limited = Clock(), key(requests_per_minute=6)
    allowances = Allowances(clock)
    for _ in range(6):
        allowances.end(limited, allowances.begin(limited, 0))
    with pytest.raises(RateLimited, match="6 requests a minute") as caught:
        allowances.begin(limited, 0)
    assert caught.value.retry_after_s == pytest.approx(10.0)
    clock.now = 9.99
    with pytest.raises(RateLimited):
        allowances.begin(limited, 0)
    clock.now = 10.0
    allowances.begin(limited, 0)


def test_a_text_above_a_minutes_worth_passes_once_and_is_paid_for_afterwards() -> None:
    clock, limited = Clock(), key(characters_per_minute=600)
    allowances = Allowances(clock)
    allowances.begin(limited, 1200)
    with pytest.raises(RateLimited) as caught:
        allowances.begin(limited, 10)
    assert caught.value.retry_after_s == pytest.approx(61.0)


def test_what_is_refused_costs_nothing() -> None:
    limited = key(requests_per_minute=2, characters_per_minute=60)
    allowances = Allowances(Clock())
    allowances.begin(limited, 60)
    for _ in range(5):
        with pytest.raises(RateLimited, match="characters"):
            allowances.begin(limited, 1)
    other = key(requests_per_minute=2)
    allowances.begin(other, 1)


def test_what_was_not_let_in_after_all_is_given_back() -> None:
    limited = key(requests_per_minute=1, characters_per_minute=60)
    allowances = Allowances(Clock())
    for _ in range(5):
        began = allowances.begin(limited, 60)
        allowances.refund(limited, 60)
        allowances.end(limited, began)
    allowances.begin(limited, 60)
    with pytest.raises(RateLimited):
        allowances.begin(limited, 1)


def test_so_many_at_a_time_and_no_more() -> None:
    clock, limited = Clock(), key(concurrency=2)
    allowances = Allowances(clock)
    first = allowances.begin(limited, 0)
    allowances.begin(limited, 0)
    with pytest.raises(TooManyAtOnce, match="2 requests"):
        allowances.begin(limited, 0)
    clock.now = 4.0
    allowances.end(limited, first)
    allowances.begin(limited, 0)
    with pytest.raises(TooManyAtOnce) as caught:
        allowances.begin(limited, 0)
    # One of two places is free after half of the 1.6 s that a request is known to take.
    assert caught.value.retry_after_s == pytest.approx(0.8)


def test_a_key_without_limits_has_none() -> None:
    allowances = Allowances(Clock())
    for _ in range(1000):
        allowances.begin(key(), 10**6)
