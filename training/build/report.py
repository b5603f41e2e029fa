"""Data report: where the text came from, what became of it, and how the rest was divided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from adapters.manifest import DataSource
from training.corpus.reading import Reading

REPORT_FILE: Final = "data.json"


@dataclass(frozen=True)
class DataReport:
    """Where the text came from, what cleaning dropped, and how the rest was divided."""

    sources: tuple[DataSource, ...]
    clean: dict[str, Any]
    split: dict[str, Any]
    reading: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "sources": [source.model_dump(mode="json") for source in self.sources],
            "reading": self.reading,
            "clean": self.clean,
            "split": self.split,
        }

    def lost(self) -> list[str]:
        """Return what cleaning took from the dev and test text that the recipe gives, to be told.

        Whoever drops the hard rows of a test gets better figures.
        """
        lines = []
        for part, counts in self.clean.get("given", {}).items():
            if part != "train" and counts["kept"] < counts["read"]:
                why = ", ".join(f"{rule} {n}" for rule, n in counts["dropped"].items() if n)
                lost = counts["read"] - counts["kept"]
                lines.append(f"cleaning dropped {lost} of {counts['read']} {part} pairs ({why})")
        return lines

    def write(self, folder: Path) -> None:
        """Write data.json, whole: it says that the parts are there."""
        draft = folder / f".{REPORT_FILE}.draft"
        body = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        draft.write_text(body + "\n", encoding="utf-8", errors="replace")
        draft.replace(folder / REPORT_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `write` wrote."""
        body = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        sources = tuple(DataSource(**source) for source in body["sources"])
        return cls(sources, body["clean"], body["split"], body.get("reading", {}))


def reading_report(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return what could not be read, and how much of each page was aligned, as plain JSON."""
    return {
        "bad": sum(how.bad for how in readings),
        "shown": [line for how in readings for line in how.shown],
        "pages": [asdict(page) for how in readings for page in how.pages],
    }
