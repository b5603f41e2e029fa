from __future__ import annotations

from typing import Any

import pytest

from adapters.errors import LimitExceeded
from serving.door.demand import Demand, demand_of
from serving.door.limits import Limits

LIMITS = Limits(segments=3, choices=2, logprobs=5, max_tokens=100)


def test_the_texts_of_a_chat_are_counted_in_characters() -> None:
    chat = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "ab"},
            {"role": "user", "content": [{"type": "text", "text": "日本"}, "x", {"text": 5}, 7]},
            "odd",
            {"role": "user"},
        ],
    }
    assert demand_of(chat, LIMITS) == Demand("m", characters=5, answers=1, most_tokens=9)


@pytest.mark.parametrize(
    ("prompt", "characters", "answers", "in_ids"),
    [
        ("abc", 3, 1, False),
        (["abc", "de"], 5, 2, False),
        ([1, 2, 3], 0, 1, True),
        ([[1], [2]], 0, 2, True),
        ([], 0, 1, False),
        (None, 0, 1, False),
    ],
)
def test_each_prompt_of_a_completion_is_an_answer(
    prompt: Any, characters: int, answers: int, in_ids: bool
) -> None:
    demand = demand_of({"prompt": prompt}, LIMITS)
    assert (demand.characters, demand.answers, demand.in_ids) == (characters, answers, in_ids)


def test_choices_multiply_the_answers() -> None:
    assert demand_of({"prompt": ["a", "b"], "n": 2}, LIMITS).answers == 4


@pytest.mark.parametrize(
    ("asked", "setting"),
    [
        ({"n": 3}, "limits.choices"),
        ({"best_of": 3}, "limits.choices"),
        ({"logprobs": 6}, "limits.logprobs"),
        ({"top_logprobs": 6}, "limits.logprobs"),
        ({"prompt_logprobs": 6}, "limits.logprobs"),
        ({"max_tokens": 101}, "limits.max_tokens"),
        ({"max_completion_tokens": 10**40}, "limits.max_tokens"),
        ({"prompt": ["a"] * 4}, "limits.segments"),
    ],
)
def test_who_asks_for_too_much_is_told_what_the_bound_is(
    asked: dict[str, Any], setting: str
) -> None:
    with pytest.raises(LimitExceeded, match=setting):
        demand_of(asked, LIMITS)


@pytest.mark.parametrize(
    "body", [None, [], "x", {"n": True, "logprobs": True, "prompt": {}, "messages": 5, "model": 1}]
)
def test_what_makes_no_sense_asks_for_nothing(body: Any) -> None:
    assert demand_of(body, LIMITS) == Demand()


@pytest.mark.parametrize("n", [-5, -(10**400)])
def test_nobody_asks_for_less_than_nothing(n: int) -> None:
    # It would be taken off the work that is waiting, or be too large for a float.
    asked = demand_of({"n": n, "best_of": n, "max_tokens": n}, LIMITS)
    assert (asked.answers, asked.most_tokens) == (1, 0)
