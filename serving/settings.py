"""Server settings: serving.yaml, DRAGOMAN_* variables and flags, checked before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from adapters.errors import InvalidId, SettingsInvalid
from adapters.ids import AdapterId
from adapters.locations import default_registry
from serving.vllm_compat import supported_max_ranks

# The launcher hands the settings to the plugins inside vLLM's processes through this variable.
HANDOVER: Final = "DRAGOMAN_SERVING"
MAX_RANKS: Final = supported_max_ranks()
_EXAMPLE: Final = '{"k8s-en-zh": {"weight": 2, "pinned": true}}'


class AdapterWish(BaseModel):
    """What one adapter id may ask of the engine, all of its versions together."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weight: float = Field(
        default=1.0, gt=0, le=1e6, description="Share of tokens, relative to the others' 1."
    )
    priority: int = Field(default=0, description="Class; a smaller one goes first.")
    pinned: bool = Field(default=False, description="Keep a slot for it, even while idle.")


class ServingSettings(BaseModel):
    """Everything that `dragoman serve` decides; the rest are vLLM's own flags, after `--`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(description="Base model: a name of `dragoman base list`, or a folder.")
    registry: Path = Field(
        default_factory=default_registry, description="Folder of published adapters."
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
        default_factory=dict,
        description="Adapter id to its weight, priority and pinned; as JSON in the variable.",
    )
    fair_wait_s: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="How long an adapter waits before a slot is drained for it, in seconds.",
    )
    start_timeout_s: float = Field(default=900.0, gt=0, description="Longest start, in seconds.")
    shutdown_timeout_s: int = Field(
        default=30, ge=0, description="How long running requests may finish, in seconds."
    )

    @field_validator("max_lora_rank")
    @classmethod
    def _known_rank(cls, rank: int) -> int:
        if rank not in MAX_RANKS:
            raise ValueError(f"vLLM takes one of {MAX_RANKS}")
        return rank

    @field_validator("adapters", mode="before")
    @classmethod
    def _as_mapping(cls, adapters: Any) -> Any:
        # A variable can only hold text.
        try:
            return json.loads(adapters) if isinstance(adapters, str) else adapters
        except json.JSONDecodeError as error:
            raise ValueError(f"expected JSON such as {_EXAMPLE}: {error}") from error

    @field_validator("adapters")
    @classmethod
    def _known_ids(cls, adapters: dict[str, AdapterWish]) -> dict[str, AdapterWish]:
        for name in adapters:
            try:
                AdapterId.parse(name)
            except InvalidId as error:
                raise ValueError(str(error)) from error
        return adapters

    @model_validator(mode="after")
    def _room_beside_pins(self) -> Self:
        pinned = sorted(name for name, wish in self.adapters.items() if wish.pinned)
        if pinned and len(pinned) >= self.max_loras:
            raise ValueError(
                f"{len(pinned)} pinned and max_loras {self.max_loras} leave no slot to the "
                f"others; raise max_loras, or pin fewer than {', '.join(pinned)}"
            )
        return self

    @field_validator("registry")
    @classmethod
    def _absolute(cls, registry: Path) -> Path:
        return registry.expanduser().absolute()


def load_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServingSettings:
    """Return the settings: `flags` over DRAGOMAN_* over the file `config`.

    Raises SettingsInvalid with every fault at once.
    """
    environment = os.environ if environment is None else environment
    variables = {name: f"DRAGOMAN_{name.upper()}" for name in ServingSettings.model_fields}
    layers = (
        {name: (str(config), value) for name, value in _read_yaml(config).items()},
        # Set to nothing means not set, as compose files and charts write it.
        {n: (v, environment[v]) for n, v in variables.items() if environment.get(v)},
        {n: (f"--{n.replace('_', '-')}", v) for n, v in flags.items() if v is not None},
    )
    given = {name: said for layer in layers for name, said in layer.items()}
    try:
        return ServingSettings.model_validate({name: value for name, (_, value) in given.items()})
    except ValidationError as error:
        faults = [_fault(fault, given) for fault in error.errors(include_url=False)]
        raise SettingsInvalid("; ".join(faults)) from error


def _fault(fault: Any, given: Mapping[str, tuple[str, Any]]) -> str:
    """Return one fault: where the value was given, what is wrong, what to write instead."""
    if not fault["loc"]:
        return str(fault["msg"])
    name = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{name}: not given; use --{name}, DRAGOMAN_{name.upper()} or a line in serving.yaml"
    origin, value = given[name]
    if len(fault["loc"]) > 1:
        place = ".".join(map(str, fault["loc"]))
        return f"{origin}: {place}: {fault['msg']} (found {fault['input']!r})"
    if fault["type"] == "extra_forbidden":
        known = sorted(ServingSettings.model_fields)
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
        return f"{origin}: {name}: no such setting; {hint}"
    return f"{origin}: {name}: {fault['msg']} (found {value!r})"


def handed_over(environment: Mapping[str, str] | None = None) -> ServingSettings | None:
    """Return the settings inside a vLLM process that the launcher started, elsewhere None."""
    text = (os.environ if environment is None else environment).get(HANDOVER)
    return ServingSettings(**json.loads(text)) if text else None


def _read_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise SettingsInvalid(f"{path}: expected `name: value` lines, found {type(body).__name__}")
    return {str(name): value for name, value in body.items()}
