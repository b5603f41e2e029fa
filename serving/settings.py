"""Server settings: serving.yaml, DRAGOMAN_* variables and flags, checked before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from adapters.errors import SettingsInvalid
from adapters.locations import default_registry
from adapters.manifest import describe

# The launcher hands the settings to the plugins inside vLLM's processes through this variable.
HANDOVER: Final = "DRAGOMAN_SERVING"
MAX_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class ServingSettings(BaseModel):
    """Everything that `dragoman serve` decides; the rest are vLLM's own flags, after `--`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(description="Base model: a name of `dragoman base list`, a folder, a hub id.")
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
        default=1.0, ge=0, description="How long a moved alias may go unnoticed, in seconds."
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
    values: dict[str, Any] = _read_yaml(config) if config else {}
    for name in ServingSettings.model_fields:
        if (value := environment.get(f"DRAGOMAN_{name.upper()}")) is not None:
            values[name] = value
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        return ServingSettings(**values)
    except (ValidationError, TypeError) as error:
        fault = describe(error) if isinstance(error, ValidationError) else str(error)
        known = ", ".join(ServingSettings.model_fields)
        where = config or "settings"
        raise SettingsInvalid(f"{where}: {fault}; known settings: {known}") from error


def handed_over(environment: Mapping[str, str] | None = None) -> ServingSettings | None:
    """Return the settings inside a vLLM process that the launcher started, elsewhere None."""
    text = (os.environ if environment is None else environment).get(HANDOVER)
    return ServingSettings(**json.loads(text)) if text else None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise SettingsInvalid(f"{path}: expected `name: value` lines, found {type(body).__name__}")
    return body
