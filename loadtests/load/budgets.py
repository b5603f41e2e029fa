"""Limits of a report's figures: `requests.lost: {most: 0}`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from adapters.errors import ScenarioInvalid
from adapters.strict.section import Section


class Budget(Section):
    """What a figure must keep."""

    most: float | None = Field(default=None, description="it may not be above this")
    least: float | None = Field(default=None, description="it may not be below this")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.most is None and self.least is None:
            raise ValueError("expected `most` or `least`")
        return self

    def broken_by(self, value: float) -> str | None:
        """Return what is wrong with `value`, or None."""
        if self.most is not None and not value <= self.most:
            return f"{value:g}, at most {self.most:g} is allowed"
        if self.least is not None and not value >= self.least:
            return f"{value:g}, at least {self.least:g} is wanted"
        return None


def flattened(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield each number of nested figures with its dotted name."""
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def broken(budgets: Mapping[str, Budget], figures: Mapping[str, Any]) -> dict[str, str]:
    """Return each budget that is not kept, and how. Raises ScenarioInvalid for unknown figures."""
    found = dict(flattened(figures))
    for name in budgets:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=3, cutoff=0.4)
            raise ScenarioInvalid(
                f"budgets.{name}: the report has no such figure; nearest: {', '.join(near)}"
            )
    faults = {name: budget.broken_by(found[name]) for name, budget in budgets.items()}
    return {name: fault for name, fault in faults.items() if fault}
