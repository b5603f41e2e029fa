from __future__ import annotations

import pytest

from adapters.errors import KeyInvalid
from serving.door.key import PREFIX, Key, hash_of, new_secret
from serving.door.keyring import KeyRing, Presented, presented


def key(name: str, secret: str) -> Key:
    return Key(name=name, hash=hash_of(secret))


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({"authorization": "Bearer one"}, "", Presented("one")),
        ({"authorization": "bearer   one "}, "", Presented("one")),
        ({"authorization": "DeepL-Auth-Key one"}, "", Presented("one", speaks_deepl=True)),
        ({}, "api_key=one&x=2", Presented("one")),
        ({}, "auth_key=one", Presented("one", speaks_deepl=True)),
        ({"authorization": "Bearer one"}, "api_key=two", Presented("one")),
        ({"authorization": "Basic one"}, "", None),
        ({"authorization": "Bearer"}, "", None),
        ({"authorization": ""}, "api_key=", None),
        ({}, "", None),
    ],
)
def test_a_key_is_found_wherever_clients_put_it(
    headers: dict[str, str], query: str, found: Presented | None
) -> None:
    assert presented(headers, query) == found


def test_a_key_opens_by_its_secret_only() -> None:
    ring = KeyRing([key("a", "first"), key("b", "second")])
    assert ring.find(Presented("second")).name == "b"
    for wrong in (None, Presented("third"), Presented(hash_of("first")), Presented("\ud800é")):
        with pytest.raises(KeyInvalid, match="Authorization: Bearer KEY"):
            ring.find(wrong)


def test_all_keys_are_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("serving.door.keyring.hmac.compare_digest", compare)
    ring = KeyRing([key(str(n), f"secret {n}") for n in range(5)])
    for secret in ("secret 0", "secret 4", "none of them"):
        compared.clear()
        try:
            ring.find(Presented(secret))
        except KeyInvalid:
            assert secret == "none of them"
        assert len(compared) == 5


def test_a_new_key_has_256_random_bits_and_no_two_are_alike() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43 for secret in made)


def test_a_query_of_hundreds_of_parameters_has_no_key() -> None:
    assert presented({}, "a&" * 150 + "api_key=x") is None
