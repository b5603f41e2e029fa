from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import (
    AdminOnly,
    BodyTooLarge,
    DragomanError,
    KeyInvalid,
    LimitExceeded,
    QuotaExceeded,
    TooManyAtOnce,
)
from serving.door.door import Door
from serving.door.key import Quota
from serving.door.limits import Limits
from tests.serving.door.rig import Knocking, admitted_by, bearer, key, open_door

TEN = Quota(characters=10)


def test_without_keys_anybody_comes_in(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path)
    admission = admitted_by(door, Knocking(bearer("none")).exchange())
    assert (admission.caller.name, admission.caller.may_use("anything")) == ("", True)
    door.require_admin(Knocking().exchange().scope)


@pytest.mark.parametrize(
    "knocking",
    [
        Knocking(bearer("web")),
        Knocking({"Authorization": "DeepL-Auth-Key secret-web"}),
        Knocking(query="api_key=secret-web"),
    ],
)
def test_a_known_key_comes_in_however_it_is_shown(tmp_path: Path, knocking: Knocking) -> None:
    door, _ = open_door(tmp_path, [key("web")])
    assert admitted_by(door, knocking.exchange()).caller.name == "web"


def test_a_key_in_the_body_comes_in_and_goes_no_further(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web")])
    exchange = Knocking().exchange({"model": "m", "prompt": "abc", "api_key": "secret-web"})
    assert admitted_by(door, exchange).caller.name == "web"
    passed_on = asyncio.run(exchange.receive())
    assert b"secret-web" not in passed_on["body"]
    length = dict(exchange.scope["headers"])[b"content-length"]
    assert int(length) == len(passed_on["body"])


@pytest.mark.parametrize(
    "knocking", [Knocking(), Knocking(bearer("x")), Knocking(query="api_key=")]
)
def test_nobody_else_does(tmp_path: Path, knocking: Knocking) -> None:
    door, _ = open_door(tmp_path, [key("web")])
    with pytest.raises(KeyInvalid):
        admitted_by(door, knocking.exchange())
    with pytest.raises(KeyInvalid):
        door.require_admin(knocking.exchange().scope)


def test_a_wrong_key_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web")])
    exchange = Knocking(bearer("x")).exchange()
    with pytest.raises(KeyInvalid):
        admitted_by(door, exchange)
    assert exchange.bytes_in == 0


def test_metrics_want_an_admin_key_unless_they_are_open(tmp_path: Path) -> None:
    keys = [key("web"), key("ops", admin=True)]
    door, _ = open_door(tmp_path, keys)
    with pytest.raises(AdminOnly, match="admin: true"):
        door.require_admin(Knocking(bearer("web")).exchange().scope)
    door.require_admin(Knocking(bearer("ops")).exchange().scope)
    opened, _ = open_door(tmp_path, keys, metrics_open=True)
    opened.require_admin(Knocking().exchange().scope)


def test_a_client_may_ask_to_be_served_later_and_never_sooner(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web"), key("batch", priority="bulk")])
    found = {
        (name, wish): admitted_by(
            door, Knocking({**bearer(name), "X-Dragoman-Priority": wish}).exchange()
        ).caller.priority
        for name in ("web", "batch")
        for wish in ("", "bulk", "interactive")
    }
    assert found == {
        ("web", ""): "interactive", ("web", "bulk"): "bulk", ("web", "interactive"): "interactive",
        ("batch", ""): "bulk", ("batch", "bulk"): "bulk", ("batch", "interactive"): "bulk",
    }  # fmt: skip


def test_new_settings_are_in_force_at_once(tmp_path: Path) -> None:
    door, settings = open_door(tmp_path, [key("web")])
    admitted_by(door, Knocking(bearer("web")).exchange())
    settings.now = settings.now.model_copy(
        update={"keys": (key("app"),), "limits": Limits(body_bytes=1024)}
    )
    with pytest.raises(KeyInvalid):
        admitted_by(door, Knocking(bearer("web")).exchange())
    with pytest.raises(BodyTooLarge):
        admitted_by(door, Knocking(bearer("app")).exchange(raw=b" " * 2000))


def in_turn(door: Door, *steps: Any) -> list[Any]:
    """Run the steps in one loop, as a server does; errors are results."""

    async def run() -> list[Any]:
        results: list[Any] = []
        for step in steps:
            try:
                results.append(await step(results))
            except DragomanError as error:
                results.append(error)
        return results

    return asyncio.run(run())


def test_a_request_that_is_refused_holds_nothing(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web", concurrency=1, quota=TEN)])
    web = Knocking(bearer("web"))

    async def too_long(_: Any) -> Any:
        return await door.let_in(web.exchange({"model": "m", "prompt": "x" * 11}))

    async def short(_: Any) -> Any:
        return await door.let_in(web.exchange({"model": "m", "prompt": "x" * 10}))

    refused, admission, second = in_turn(door, too_long, short, short)
    assert isinstance(refused, QuotaExceeded)
    assert admission.caller.name == "web"
    # The place is taken, and it was not the refused request that took it.
    assert isinstance(second, TooManyAtOnce)


def test_what_was_answered_stays_charged_and_what_failed_is_given_back(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web", quota=TEN)])
    web = Knocking(bearer("web"))

    def asks(status: int, tokens: int) -> Any:
        async def ask(_: Any) -> Any:
            exchange = web.exchange({"model": "m", "prompt": "x" * 6})
            admission = await door.let_in(exchange)
            exchange.status = status
            admission.used.completion_tokens = tokens
            await door.see_out(admission, exchange)
            return status

        return ask

    # A client that hung up (499) after some tokens has had its translation, as far as it wanted.
    assert in_turn(door, asks(503, 0), asks(404, 0), asks(499, 2))[-1] == 499
    assert isinstance(in_turn(door, asks(200, 1))[0], QuotaExceeded)


def test_usage_is_shown_to_the_key_itself_and_all_of_it_to_an_admin(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web", quota=TEN), key("ops", admin=True)])
    web, ops = (Knocking(bearer(name)) for name in ("web", "ops"))

    async def ask(_: Any) -> Any:
        return await door.let_in(web.exchange({"model": "m", "prompt": "x" * 6}))

    async def own(_: Any) -> Any:
        return await door.usage(door.identify(web.exchange().scope))

    async def every(_: Any) -> Any:
        return await door.usage(door.identify(ops.exchange().scope))

    _, mine, everybodys = in_turn(door, ask, own, every)
    assert mine == [
        {"key": "web", "per": "month", "characters_limit": 10, "characters_used": 6,
         "tokens_limit": None, "tokens_used": None},
    ]  # fmt: skip
    assert [one["key"] for one in everybodys] == ["web", "ops"]


def test_a_key_that_counts_characters_takes_no_token_ids(tmp_path: Path) -> None:
    door, _ = open_door(tmp_path, [key("web", quota=TEN), key("free")])
    ids = {"model": "m", "prompt": [1, 2, 3]}
    with pytest.raises(LimitExceeded, match="as text"):
        admitted_by(door, Knocking(bearer("web")).exchange(ids))
    admitted_by(door, Knocking(bearer("free")).exchange(ids))
