"""The base of every section of a file: unknown keys are errors, values never change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """One mapping of a file. Strict: a quoted "16" is no number, since it was a slip."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def kind_or(default: str) -> BeforeValidator:
    """Return what lets a section with several kinds be written without its `kind`.

    Beside `Field(discriminator="kind")` in the union's annotation; members keep a Literal `kind`.
    """

    def fill(value: Any) -> Any:
        return {"kind": default, **value} if isinstance(value, dict) else value

    return BeforeValidator(fill)
