"""Keys that requests carry, against those that the settings list."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from adapters.errors import KeyInvalid
from serving.door.key import Key, hash_of

_BEARER: Final = "bearer"
_DEEPL: Final = "deepl-auth-key"
_PARAMETERS: Final = ("api_key", "auth_key")
_MOST_PARAMETERS: Final = 100
_HINT: Final = (
    "send `Authorization: Bearer KEY`, `Authorization: DeepL-Auth-Key KEY`, or `api_key` in the "
    "query or the JSON body"
)


@dataclass(frozen=True)
class Presented:
    """The key that a request came with, and whether it came in DeepL's way."""

    secret: str
    speaks_deepl: bool = False


def presented(headers: Mapping[str, str], query: str) -> Presented | None:
    """Return the key in a request's headers or query, or None; its body is looked at apart."""
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    scheme, secret = scheme.lower(), secret.strip()
    if secret and scheme in (_BEARER, _DEEPL):
        return Presented(secret, scheme == _DEEPL)
    if query:
        found = _parameters(query)
        for name in _PARAMETERS:
            if found.get(name):
                return Presented(found[name], name == "auth_key")
    return None


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=_MOST_PARAMETERS))
    except ValueError:  # more than that: no client of ours
        return {}


class KeyRing:
    """The keys of one reading of the settings."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple((key.hash.encode(), key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, given: Presented | None) -> Key:
        """Return the key that was presented. Raises KeyInvalid.

        All are compared, each in constant time, whichever fits: how long it takes tells nothing.
        """
        if given is None:
            raise KeyInvalid(f"this server wants a key; {_HINT}")
        digest = hash_of(given.secret).encode()
        found = _only(key for known, key in self._keys if hmac.compare_digest(known, digest))
        if found is None:
            raise KeyInvalid(f"the key is not known here; {_HINT}, or ask for a new one")
        return found


def _only(keys: Iterable[Key]) -> Key | None:
    found = None
    for key in keys:
        found = key
    return found


def headers_of(scope: Any) -> dict[str, str]:
    """Return the headers of an ASGI scope by their names in lower case."""
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


def speaks_deepl(scope: Any) -> bool:
    """Return whether a request shows its key as DeepL's clients do."""
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    given = presented(headers_of(scope), query)
    return given is not None and given.speaks_deepl
