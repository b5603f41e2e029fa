"""Common GPUs, what they cost, and how a run would do on each. Imports no torch."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import Field, ValidationError

from adapters.errors import RecipeInvalid
from adapters.manifest import describe
from adapters.strict.section import Section

SHIPPED: Final = Path(__file__).with_name("gpus.yaml")
# The driver keeps some of the memory, and freed blocks leave gaps.
_USABLE: Final = 0.92


class Gpu(Section):
    """One model of GPU and one price of it."""

    name: str
    memory_gb: float = Field(gt=0, strict=False)
    tflops: float = Field(gt=0, strict=False, description="dense bf16 (or fp16) of the data sheet")
    price: float = Field(ge=0, strict=False, description="an hour, in the table's currency")
    seen: datetime.date
    source: str


class Gpus(Section):
    """The table. `utilisation` is the share of `tflops` that training is taken to reach."""

    currency: str
    utilisation: float = Field(gt=0, le=1)
    gpus: tuple[Gpu, ...] = Field(min_length=1, strict=False)

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Gpus:
        """Return the table in the YAML file `path`. Raises RecipeInvalid."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise RecipeInvalid(
                f"{path}: {describe(error)}; write it as {SHIPPED.name} is written"
            ) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RecipeInvalid(f"{path}: cannot be read ({error})") from error


@dataclass(frozen=True)
class OnGpu:
    """A run on one GPU; `hours` and `cost` are None where it does not fit or is not known."""

    gpu: Gpu
    fits: bool
    hours: float | None
    cost: float | None


def on_each(table: Gpus, memory_bytes: float, flop: float | None) -> list[OnGpu]:
    """Return how a run of `memory_bytes` and `flop` in all would do on each GPU of `table`."""
    found = []
    for gpu in table.gpus:
        fits = memory_bytes <= _USABLE * gpu.memory_gb * 1e9
        rate = gpu.tflops * 1e12 * table.utilisation
        hours = flop / rate / 3600 if fits and flop is not None else None
        found.append(OnGpu(gpu, fits, hours, None if hours is None else hours * gpu.price))
    return found
