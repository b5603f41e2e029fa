"""Ten minutes of one real pod, as loadtests/autoscaling/record.py wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from loadtests.autoscaling.demand import Scrape

RECORDED: Final = Path(__file__).with_name("recorded.json")


def rows() -> list[dict[str, Any]]:
    """Return a row a scrape: at_s, utilization, saturation, and the two counters."""
    return list(json.loads(RECORDED.read_text(encoding="utf-8"))["rows"])


def scrapes() -> Iterator[Scrape]:
    """Yield what the recorded pod showed, as the rule takes it in."""
    for row in rows():
        use, asked = row["utilization"], row["saturation"]
        yield Scrape(row["at_s"], use, min(asked, 1), asked, row["arrivals"], row["ended"])


def arrivals() -> list[float]:
    """Return when the recorded requests came: those of one interval evenly over it."""
    found = []
    for before, after in pairwise(rows()):
        count = round(after["arrivals"] - before["arrivals"])
        length = after["at_s"] - before["at_s"]
        found += [before["at_s"] + length * i / count for i in range(count)]
    return found
