"""What is loaded: a server that runs somewhere, or one that is started for the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from adapters.console import note
from adapters.errors import LoadTestFailed, ScenarioInvalid
from adapters.ids import AdapterId
from adapters.registry import FileRegistry
from loadtests import llama_cpp, peft_server, servers
from loadtests.churn_registry import SCALE
from loadtests.load.events import OURS_ONLY, Swap
from loadtests.load.kind import Kind
from loadtests.load.scenario import Scenario
from loadtests.random_registry import publish_random, random_adapters, warm_page_cache

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Target:
    """A server that takes requests."""

    url: str
    models: tuple[str, ...]
    versions: Mapping[str, str]  # the name to ask for each version: the model that it belongs to
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: Kind | None = None
    started: Started | None = None  # None: somebody else's


@dataclass(frozen=True)
class Started:
    """A server of ours to do something to."""

    server: servers.Running
    registry: Path


def running(
    url: str, models: Sequence[str], headers: Mapping[str, str], scenario: Scenario
) -> Target:
    """Return the server at `url`. Raises LoadTestFailed, ScenarioInvalid.

    models: to be asked for; all that it lists if none are named.
    """
    impossible = sorted({e.kind for e in scenario.events if isinstance(e, OURS_ONLY)})
    if impossible:
        raise ScenarioInvalid(
            f"{scenario.name}: {', '.join(impossible)} can only be done to a server that this "
            "command starts; leave --url out, or write them as commands (kind: command)"
        )
    named = tuple(models) or listed(url, headers)
    return Target(url, named, {name: name for name in named}, headers)


def listed(url: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of a server's adapters, or of its base if it has none."""
    try:
        answer = httpx.get(f"{url}/v1/models", headers=dict(headers), timeout=_TIMEOUT_S)
        answer.raise_for_status()
        cards = answer.json()["data"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise LoadTestFailed(
            f"{url}/v1/models: {error!r}; expected the address of an OpenAI-compatible server, "
            "without /v1"
        ) from error
    adapters = tuple(card["id"] for card in cards if card.get("parent") or card.get("dragoman"))
    return adapters or tuple(card["id"] for card in cards)


@contextmanager
def started(kind: Kind, scenario: Scenario, folder: Path) -> Iterator[Target]:
    """Yield a server of that kind with random adapters, while it runs. Raises LoadTestFailed."""
    asked = scenario.server
    registry = folder / f"registry-{asked.base}"
    folders = random_adapters(registry, asked.base, asked.adapters, scale=SCALE)
    versions = {name: name for name in folders}
    if any(isinstance(event, Swap) for event in scenario.events):
        versions = _second_versions(registry, asked.base, [*folders])
    warm_page_cache(folders)
    launch, fields = _launch(kind, scenario, registry, folders)
    try:
        with servers.running(launch, folder / f"{kind}.log") as server:
            note(f"{kind}: started in {server.start_s:.0f} s, {len(folders)} adapters")
            yield Target(
                server.url, tuple(folders), versions,
                fields=fields, kind=kind, started=Started(server, registry),
            )  # fmt: skip
    except servers.ServerFailed as error:
        raise LoadTestFailed(str(error)) from error


def _second_versions(registry: Path, base: str, names: Sequence[str]) -> dict[str, str]:
    """Return `id@1` and `id@2` of each, published where it is missing; stable is the first."""
    store = FileRegistry(registry)
    found: dict[str, str] = {}
    for number, name in enumerate(names):
        adapter_id = AdapterId.parse(name)
        if len(store.numbers(adapter_id)) < 2:
            publish_random(store, base, name, seed=10_000 + number, scale=SCALE)
        store.set_alias(adapter_id, "stable", 1)
        found |= {f"{name}@{version}": name for version in (1, 2)}
    return found


def _launch(
    kind: Kind, scenario: Scenario, registry: Path, folders: Mapping[str, Path]
) -> tuple[servers.Launch, Mapping[str, Mapping[str, Any]]]:
    asked = scenario.server
    flags = ("--max-loras", str(asked.slots), "--max-cpu-loras", str(asked.memory))
    ours = servers.dragoman(
        asked.base, registry, (*flags, "--", "--max-num-seqs", str(asked.seats))
    )
    if kind is Kind.DRAGOMAN:
        return ours, {}
    if kind is Kind.VLLM:
        return servers.plain_vllm(ours, folders), {}
    if kind is Kind.PEFT:
        return peft_server.launch(asked.base, folders), {}
    binary = llama_cpp.find_server()
    if binary is None:
        raise LoadTestFailed(llama_cpp.INSTALL)
    base, loras = llama_cpp.converted(folders, registry.parent / "llama_cpp")
    return (
        llama_cpp.launch(binary, base, loras, streams=asked.seats),
        llama_cpp.fields([*folders]),
    )
