"""Server settings: serving.yaml, DRAGOMAN_* variables and flags, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator

from adapters.errors import InvalidId, SettingsInvalid
from adapters.ids import AdapterId
from adapters.locations import default_registry
from adapters.strict.document import Document, Fault, line_of
from adapters.strict.faults import faults_of
from adapters.strict.section import Section
from serving.door.key import Key
from serving.door.limits import Limits
from serving.door.settings import DoorSettings
from serving.settings_rules import broken_rules
from serving.settings_sources import gathered
from serving.vllm_compat import supported_max_ranks

# The launcher hands the settings to the plugins inside vLLM's processes through this variable.
HANDOVER: Final = "DRAGOMAN_SERVING"
MAX_RANKS: Final = supported_max_ranks()
# The door reads them from a file of the run folder: a process's environment is easily seen.
DOOR_NAMES: Final = frozenset(DoorSettings.model_fields)
# What SIGHUP changes in a server that runs.
RELOADED: Final = frozenset({"keys", "limits", "metrics_open"})
_STORES: Final = frozenset({"sqlite", "postgres", "postgresql"})
_NO_BASE: Final = "-"


class AdapterWish(Section):
    """What one adapter id may ask of the engine, all of its versions together."""

    weight: float = Field(
        default=1.0, gt=0, le=1e6, description="Share of tokens, relative to the others' 1."
    )
    priority: int = Field(default=0, description="Class; a smaller one goes first.")
    pinned: bool = Field(default=False, description="Keep a slot for it, even while idle.")


class ServingSettings(Section):
    """Everything that `dragoman serve` decides; the rest are vLLM's own flags, after `--`."""

    base: str = Field(
        min_length=1, description="Base model: a name of `dragoman base list`, or a folder."
    )
    registry: Path = Field(
        default_factory=default_registry,
        strict=False,
        description="Folder of published adapters; `registry` in the cache folder, if not given.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen on.")
    max_loras: int = Field(default=4, ge=1, description="Adapters in one batch (engine slots).")
    max_cpu_loras: int = Field(default=32, ge=1, description="Adapters kept in memory.")
    max_lora_rank: int = Field(default=64, description=f"Highest LoRA rank: one of {MAX_RANKS}.")
    max_model_len: int = Field(default=2048, ge=16, description="Prompt + answer, in tokens.")
    alias_ttl_s: float = Field(
        default=0.05, ge=0, description="How long a moved alias may go unnoticed, in seconds."
    )
    golden_tolerance_nats: float = Field(
        default=1.0,
        ge=0,
        description="How far an adapter's golden answer may lie from training's; 0: no check. "
        "Raise it where the engine quantizes the base and training did not.",
    )
    adapters: dict[str, AdapterWish] = Field(
        default_factory=dict, description="Adapter id to its weight, priority and pinned."
    )
    fair_wait_s: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="How long an adapter waits before a slot is drained for it, in seconds.",
    )
    # Of those with repr=False no fault shows what was found: it may be a key or a password.
    keys: tuple[Key, ...] = Field(
        default=(),
        strict=False,
        repr=False,
        description="Who may call; with none, only this machine may (or see trust_network).",
    )
    trust_network: bool = Field(
        default=False,
        description="Answer without keys on an address that others reach: something in front of "
        "the server says who may.",
    )
    metrics_open: bool = Field(
        default=False, description="With keys: let /metrics be read without an admin key."
    )
    limits: Limits = Field(default_factory=Limits, description="Bounds of every request.")
    usage: str = Field(
        default="",
        repr=False,
        description="Where usage per key is kept: a file for SQLite, or a postgresql:// URL; "
        "usage.sqlite in the cache folder, if not given.",
    )
    log: Literal["text", "json"] = Field(default="text", description="Format of the log.")
    start_timeout_s: float = Field(default=900.0, gt=0, description="Longest start, in seconds.")
    shutdown_timeout_s: int = Field(
        default=30, ge=0, description="How long running requests may finish, in seconds."
    )

    @field_validator("max_lora_rank")
    @classmethod
    def _known_rank(cls, rank: int) -> int:
        if rank not in MAX_RANKS:
            raise ValueError(f"found {rank}, vLLM takes one of {MAX_RANKS}")
        return rank

    @field_validator("adapters")
    @classmethod
    def _known_ids(cls, adapters: dict[str, AdapterWish]) -> dict[str, AdapterWish]:
        for name in adapters:
            try:
                AdapterId.parse(name)
            except InvalidId as error:
                raise ValueError(str(error)) from error
        return adapters

    @field_validator("registry")
    @classmethod
    def _absolute(cls, registry: Path) -> Path:
        return registry.expanduser().absolute()

    @field_validator("usage")
    @classmethod
    def _known_store(cls, usage: str) -> str:
        scheme, found, _ = usage.partition("://")
        if found and scheme not in _STORES:
            # The rest is not shown: it may hold a password.
            raise ValueError(
                f"found a {scheme[:20]}:// URL, expected a file or postgresql://user@host/database"
            )
        return usage

    @property
    def door(self) -> DoorSettings:
        """What the door needs of them."""
        return DoorSettings(**{name: getattr(self, name) for name in DOOR_NAMES})

    def handover(self) -> str:
        """Return them as the value of HANDOVER, without what is the door's."""
        return self.model_dump_json(exclude=set(DOOR_NAMES))

    def with_reloaded(self, newest: ServingSettings) -> Self:
        """Return these with what a reload changes taken from `newest`."""
        return self.model_copy(update={name: getattr(newest, name) for name in RELOADED})


@dataclass(frozen=True)
class Reading:
    """What the sources say: every fault, and settings in which defaults stand for what is wrong."""

    settings: ServingSettings
    faults: tuple[Fault, ...]
    doubtful: frozenset[str]  # the settings that are wrong, or not given and needed
    document: Document

    def broken(self) -> SettingsInvalid:
        """Return the error that lists all faults."""
        return SettingsInvalid("\n".join(map(str, self.faults)))


def load_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServingSettings:
    """Return the settings: `flags` over DRAGOMAN_* over the file `config`.

    Raises SettingsInvalid with every fault at once.
    """
    reading = read_settings(flags, config=config, environment=environment)
    if reading.faults:
        raise reading.broken()
    return reading.settings


def read_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Reading:
    """Return what the sources of load_settings say; nothing is raised."""
    environment = os.environ if environment is None else environment
    document = gathered(ServingSettings, flags, config=config, environment=environment)
    missing = "base" not in document.values
    document.values.setdefault("base", _NO_BASE)
    _, faults = faults_of(ServingSettings, document)
    if missing:
        hint = "use --base, DRAGOMAN_BASE or a line in serving.yaml"
        faults.append(Fault("base", f"not given; {hint}"))
    settings, doubtful = _sound(document.values)
    doubtful |= {"base"} if missing else set()
    faults += [
        Fault(document.place_of(rule.path), rule.message)
        for rule in broken_rules(settings)
        if not rule.names & doubtful
    ]
    ordered = tuple(sorted(faults, key=line_of))
    return Reading(settings, ordered, doubtful, document)


def _sound(values: Mapping[str, Any]) -> tuple[ServingSettings, frozenset[str]]:
    """Return the settings without the faulty ones, and the names of those."""
    try:
        return ServingSettings.model_validate(values), frozenset()
    except ValidationError as error:
        faulty = frozenset(str(detail["loc"][0]) for detail in error.errors())
    rest = {name: value for name, value in values.items() if name not in faulty}
    return ServingSettings.model_validate({"base": _NO_BASE, **rest}), faulty


def handed_over(environment: Mapping[str, str] | None = None) -> ServingSettings | None:
    """Return the settings inside a vLLM process that the launcher started, elsewhere None.

    The door's are not among them: serving.door.settings.DoorFile has those.
    """
    text = (os.environ if environment is None else environment).get(HANDOVER)
    return ServingSettings.model_validate_json(text) if text else None
