from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serving.door.caller import ANYBODY, Caller
from serving.door.key import Key, hash_of
from serving.turn import BULK, INTERACTIVE, NOBODYS, Turn, attach, turn_of


def request(extra_args: Any = None) -> Any:
    return SimpleNamespace(sampling_params=SimpleNamespace(extra_args=extra_args))


def test_a_caller_takes_its_keys_weight_and_its_requests_class() -> None:
    key = Key(name="shop", hash=hash_of("secret"), weight=3)
    assert Turn.of(Caller("shop", key)) == Turn("shop", 3.0, INTERACTIVE)
    assert Turn.of(Caller("shop", key, "bulk")) == Turn("shop", 3.0, BULK)
    assert Turn.of(ANYBODY) == NOBODYS


def test_what_is_attached_is_read_again_in_the_engine() -> None:
    asked = request({"kv_transfer_params": {"a": 1}})
    attach(asked.sampling_params, Turn("shop", 2.5, BULK))
    assert turn_of(asked) == Turn("shop", 2.5, BULK)
    assert asked.sampling_params.extra_args["kv_transfer_params"] == {"a": 1}


def test_what_a_client_wrote_in_its_place_is_overwritten() -> None:
    forged = {"dragoman_turn": ["boss", 1000.0, -5]}
    asked = request(forged)
    assert turn_of(asked).caller == "boss"
    attach(asked.sampling_params, NOBODYS)
    assert turn_of(asked) == NOBODYS
    assert forged == {"dragoman_turn": ["boss", 1000.0, -5]}


@pytest.mark.parametrize(
    "written",
    ["boss", 7, [], ["boss", 1.0], ["boss", "1", 0], [1, 1.0, 0], ["boss", 0.0, 0],
     ["boss", -1.0, 0], ["boss", float("nan"), 0], ["boss", float("inf"), 0], ["boss", 1.0, 0.5]],
)  # fmt: skip
def test_what_is_no_turn_counts_as_nobodys(written: Any) -> None:
    assert turn_of(request({"dragoman_turn": written})) == NOBODYS


def test_requests_without_extra_or_sampling_are_nobodys() -> None:
    assert turn_of(request()) == NOBODYS
    assert turn_of(SimpleNamespace(sampling_params=None)) == NOBODYS
