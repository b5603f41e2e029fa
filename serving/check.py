"""`dragoman serve --check`: what would be served, or everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from adapters.console import note, print_json, print_table
from adapters.errors import DragomanError, SettingsInvalid
from adapters.locations import cache_root
from adapters.registry import FileRegistry
from adapters.strict.document import Fault
from serving.door.ledger import open_ledger
from serving.launch import find_base, host_of, url_of
from serving.settings import Reading, ServingSettings
from serving.settings_rules import is_loopback

# As for bad usage: nothing was tried, and nothing will be until a person has mended it.
FAULTY: Final = 2


def check(reading: Reading, vllm_flags: Sequence[str], *, as_json: bool) -> int:
    """Print what would be served and return 0, or every fault and return FAULTY.

    Looks at files only: not at the port, and not at a PostgreSQL, of which just the URL is read.
    """
    faults = [*reading.faults, *_faults(reading)]
    if not faults:
        _print(served(reading.settings, vllm_flags), as_json=as_json)
        return 0
    if as_json:
        print_json({"faults": [{"where": f.where, "message": f.message} for f in faults]})
    else:
        note("\n".join(map(str, faults)))
    return FAULTY


def served(settings: ServingSettings, vllm_flags: Sequence[str]) -> dict[str, Any]:
    """Return what would be served; nothing in it is secret."""
    return {
        "base": {"name": settings.base, "folder": str(find_base(settings.base))},
        "registry": {
            "folder": str(settings.registry),
            "adapters": len(FileRegistry(settings.registry).ids()),
        },
        "listens_on": host_of(settings, vllm_flags),
        "address": url_of(settings, vllm_flags),
        "callers": _callers(settings, host_of(settings, vllm_flags)),
        "keys": [key.model_dump(exclude={"hash"}) for key in settings.keys],
        "metrics_open": settings.metrics_open,
        "limits": settings.limits.model_dump(),
        "usage": open_ledger(settings.usage, cache_root()).place,
        "log": settings.log,
    }


def _faults(reading: Reading) -> Iterator[Fault]:
    """Yield what is wrong on this machine with settings that are themselves all right."""
    settings, doubtful = reading.settings, reading.doubtful
    looks = {"base": _look_at_base, "registry": _look_at_registry, "usage": _look_at_usage}
    for name, look in looks.items():
        try:
            if name not in doubtful:
                look(settings)
        except DragomanError as error:
            message = str(error).removeprefix(f"{name}: ")
            yield Fault(reading.document.place_of((name,)), f"`{name}`: {message}")


def _look_at_base(settings: ServingSettings) -> None:
    find_base(settings.base)


def _look_at_registry(settings: ServingSettings) -> None:
    registry = FileRegistry(settings.registry)
    if settings.registry.exists():
        registry.probe()
    registry.ids()


def _look_at_usage(settings: ServingSettings) -> None:
    ledger = open_ledger(settings.usage, cache_root())
    path = getattr(ledger, "path", None)
    if not isinstance(path, Path):
        return
    folder = next(folder for folder in path.parents if folder.exists())
    for place in (path, folder):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            raise SettingsInvalid(
                f"{place} cannot be written by this user; name another file, or let it"
            )
    if path.is_dir() or not folder.is_dir():
        raise SettingsInvalid(f"{path} can be no file there; name another one")


def _callers(settings: ServingSettings, host: str) -> str:
    if settings.keys:
        return "those who have a key"
    return "this machine" if is_loopback(host) else "whoever reaches the address"


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    rows = [
        ("base", f"{facts['base']['name']} ({facts['base']['folder']})"),
        ("registry", f"{facts['registry']['folder']}, {facts['registry']['adapters']} adapters"),
        ("listens on", facts["listens_on"]),
        ("address", facts["address"]),
        ("callers", facts["callers"]),
        ("usage", facts["usage"]),
        *((f"limits.{name}", value) for name, value in facts["limits"].items()),
    ]
    print_table(("setting", "value"), [(n, "-" if v is None else v) for n, v in rows])
    if facts["keys"]:
        print_table(("key", "adapters", "may"), [*map(_row, facts["keys"])])


def _row(key: dict[str, Any]) -> tuple[str, str, str]:
    adapters = "all" if key["adapters"] is None else ", ".join(key["adapters"]) or "none"
    quota = key["quota"]
    bounds = {
        f"characters a {quota['per']}": quota["characters"],
        f"tokens a {quota['per']}": quota["tokens"],
        "requests a minute": key["requests_per_minute"],
        "characters a minute": key["characters_per_minute"],
        "at a time": key["concurrency"],
    }
    said = [f"{value:,} {unit}" for unit, value in bounds.items() if value is not None]
    said += ["admin"] if key["admin"] else []
    weight = "" if key["weight"] == 1 else f", weight {key['weight']:g}"
    return key["name"], adapters, ", ".join([f"{key['priority']}{weight}", *said])
