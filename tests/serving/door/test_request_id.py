from __future__ import annotations

import re

import pytest

from serving.door.request_id import engine_id, header_of, request_id_of, with_engine_id


def headers(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-request-id", value) for value in values)]


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "0" * 64])
def test_a_safe_id_of_the_client_is_kept(given: str) -> None:
    assert request_id_of(headers(given.encode())) == given


@pytest.mark.parametrize("given", [
    b"", b"0" * 65, b"a b", b"a\n", b"a\nb", b"a=b", "é".encode(), b"\xff", b"a/b", b"\x00",
])  # fmt: skip
def test_any_other_is_replaced_by_a_new_one(given: bytes) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", request_id_of(headers(given)))


def test_without_one_each_request_gets_its_own() -> None:
    assert len({request_id_of(headers()) for _ in range(100)}) == 100


def test_of_several_the_first_counts() -> None:
    assert request_id_of(headers(b"one", b"two")) == "one"


def test_the_engine_sees_different_ids_for_requests_of_one_id() -> None:
    unique = {engine_id("again") for _ in range(100)}
    assert len(unique) == 100
    assert all(name.startswith("again-") for name in unique)


def test_what_the_engine_sees_is_the_unique_id_alone() -> None:
    seen = with_engine_id(headers(b"one", b"two"), "one-77")
    assert seen == [(b"host", b"x"), (b"x-request-id", b"one-77")]
    assert header_of(seen, b"x-request-id") == b"one-77"


def test_a_request_without_an_id_gets_the_engine_s_as_well() -> None:
    assert with_engine_id(headers(), "new-1")[-1] == (b"x-request-id", b"new-1")
