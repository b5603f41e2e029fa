"""Rules that hold between settings, beyond what each may be by itself."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapters.strict.document import Path
from serving.door.key import Key

if TYPE_CHECKING:
    from serving.settings import ServingSettings

# What ids of adapters and names of bases are made of, and `*`.
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*-]{1,128}")


@dataclass(frozen=True)
class BrokenRule:
    """One rule that does not hold, the key to blame, and the settings that it looked at."""

    path: Path
    names: frozenset[str]
    message: str


def broken_rules(settings: ServingSettings) -> Iterator[BrokenRule]:
    """Yield each rule that the settings break."""
    if message := _crowded_out(settings):
        yield BrokenRule(
            ("adapters",), frozenset({"adapters", "max_loras"}), f"`adapters`: {message}"
        )
    for path, message in _faults_of_keys(settings.keys):
        yield BrokenRule(path, frozenset({"keys"}), f"`{'.'.join(map(str, path))}`: {message}")
    if message := open_address(settings.host, settings):
        names = frozenset({"host", "keys", "trust_network"})
        yield BrokenRule(("host",), names, f"`host`: {message}")


def open_address(host: str, settings: ServingSettings) -> str:
    """Return what is wrong with listening on `host`, or "" if only those who may can call."""
    if settings.keys or settings.trust_network or is_loopback(host):
        return ""
    return (
        f"others reach {host or 'every address'}, and no key is needed; run `dragoman keys new "
        "NAME` and put what it prints under `keys`, or listen on 127.0.0.1, or set trust_network "
        "(--trust-network) where something in front says who may call"
    )


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine reaches `host`; what a name stands for is unknown."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fault_of_pattern(pattern: str) -> str:
    """Return what is wrong with one of a key's `adapters`, or ""."""
    if "@" in pattern:
        return f"{pattern!r} names a version; write the id alone, all of its versions are meant"
    if _PATTERN.fullmatch(pattern) is None:
        return f"{pattern!r}: expected letters, digits, `.`, `_`, `-` and `*`, such as shop-*"
    return ""


def _crowded_out(settings: ServingSettings) -> str:
    pinned = sorted(name for name, wish in settings.adapters.items() if wish.pinned)
    if not pinned or len(pinned) < settings.max_loras:
        return ""
    return (
        f"{len(pinned)} pinned and max_loras {settings.max_loras} leave no slot to the others; "
        f"raise max_loras, or pin fewer than {', '.join(pinned)}"
    )


def _faults_of_keys(keys: tuple[Key, ...]) -> Iterator[tuple[Path, str]]:
    names: dict[str, int] = {}
    hashes: dict[str, int] = {}
    for number, key in enumerate(keys):
        first = names.setdefault(key.name, number)
        if first != number:
            yield ("keys", number, "name"), f"{key.name!r} is keys.{first}, too; rename one"
        first = hashes.setdefault(key.hash, number)
        if first != number:
            same = f"the same key as keys.{first}; give each holder its own (`dragoman keys new`)"
            yield ("keys", number, "hash"), same
        for index, pattern in enumerate(key.adapters or ()):
            if message := fault_of_pattern(pattern):
                yield ("keys", number, "adapters", index), message
