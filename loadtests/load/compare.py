"""Two reports side by side: what got better, what got worse, and whether by too much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from adapters.errors import ReportInvalid
from loadtests.load.budgets import flattened
from loadtests.load.report import SCHEMA

# What may be compared, which direction is good, and what two equal runs differ by at most.
_BETTER: Final[dict[str, Literal["lower", "higher"]]] = {
    "latency_ms.": "lower",
    "throughput.answered_per_s": "higher",
    "throughput.tokens_per_s": "higher",
    "goodput.": "higher",
    "requests.failed": "lower",
    "requests.lost": "lower",
    "requests.unreached": "lower",
    "requests.shed": "lower",
    "checks.wrong": "lower",
    "fairness.jain": "higher",
    "fairness.slow_adapters": "lower",
}
_NOT_COMPARED: Final = (".n", ".max")
# A rare event that was not there before is worse by any measure.
_COUNTS: Final = ("requests.", "checks.", "fairness.slow")
_ALLOWANCE: Final = 0.15


@dataclass(frozen=True)
class Difference:
    """One figure before and after."""

    name: str
    before: float
    after: float
    allowance: float

    @property
    def change(self) -> float:
        """After over before, minus 1; positive is more."""
        return self.after / self.before - 1 if self.before else (0.0 if not self.after else 1.0)

    @property
    def verdict(self) -> Literal["same", "better", "worse"]:
        """Beyond the allowance, or the same."""
        worse = self.change if _better(self.name) == "lower" else -self.change
        allowed = 0.0 if self.name.startswith(_COUNTS) else self.allowance
        if worse > allowed:
            return "worse"
        return "better" if worse < -allowed else "same"


def read(path: Path) -> dict[str, Any]:
    """Return a report. Raises ReportInvalid."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportInvalid(f"{path}: cannot be read as a report ({error})") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ReportInvalid(
            f"{path}: expected a report of schema {SCHEMA}, found {schema}; it is the JSON that "
            "`dragoman bench` writes"
        )
    return dict(found)


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], allowance: float = _ALLOWANCE
) -> list[Difference]:
    """Return every figure that both have. Raises ReportInvalid if they did not ask the same."""
    for key in ("seconds", "arrivals", "popularity", "texts", "seed", "name"):
        was, now = before["scenario"][key], after["scenario"][key]
        if was != now:
            raise ReportInvalid(
                f"the two runs asked differently: {key} was {was}, is {now}; compare runs of one "
                "scenario with one seed"
            )
    for name, one in (("first", before), ("second", after)):
        if one["verdict"] == "void":
            raise ReportInvalid(f"the {name} run is void: {one['faults'][0]}")
    old, new = dict(flattened(before)), dict(flattened(after))
    return [
        Difference(name, old[name], new[name], allowance)
        for name in old
        if name in new and _better(name) and not name.endswith(_NOT_COMPARED)
    ]


def _better(name: str) -> str | None:
    return next((way for prefix, way in _BETTER.items() if name.startswith(prefix)), None)
