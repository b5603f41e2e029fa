"""Result: one evaluation with all its figures, as the JSON that the command prints."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from training.evaluate.probes.probe import ProbeResult
from training.evaluate.scoreboard import Entry, Scoreboard, System, score_systems
from training.evaluation.held_out import HeldOut
from training.evaluation.neural_scores import NeuralScores
from training.hardware import hardware

COPY: Final = "source copied"
_PACKAGES: Final = ("dragoman", "sacrebleu", "numpy", "torch", "transformers", "peft")
_ABOUT_COPY: Final = {"what it is": "the sources as they are: what doing nothing would score"}


@dataclass(frozen=True)
class Result:
    """The scoreboard of `system` and whatever stands beside it, and how it came about.

    `trained_on` are data sets as manifests have them.
    """

    board: Scoreboard
    system: str
    held_out: HeldOut
    trained_on: Sequence[Mapping[str, Any]] = ()
    probes: tuple[ProbeResult, ...] = ()
    neural: tuple[NeuralScores, ...] = ()
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self, command: str) -> dict[str, Any]:
        """Return plain JSON values: figures, texts, and the `command` that repeats them."""
        own = self.board.entry(self.system)
        return {
            "pair": str(self.board.test.pair),
            "data": self.held_out.where,
            "segments": len(self.board.test.sources),
            "system": self.system,
            "scores": [{"metric": figure.metric, **figure.to_json()} for figure in own.figures],
            "scoreboard": self.board.to_json(),
            "neural": [one.to_json() for one in self.neural],
            "probes": [probe.to_json() for probe in self.probes],
            "test_set": self.held_out.to_json(),
            "trained_on": [dict(one) for one in self.trained_on],
            "versions": versions(),
            "hardware": hardware(),
            "command": command,
            "created": self.created.isoformat(timespec="seconds"),
            "translations": self._rows(own),
            "texts": {
                "sources": list(self.board.test.sources),
                "references": list(self.board.test.references),
                "systems": {e.system.name: list(e.system.texts) for e in self.board.entries},
            },
            "by_segment": {e.system.name: _by_segment(e) for e in self.board.entries},
        }

    def _rows(self, entry: Entry) -> list[dict[str, Any]]:
        test = self.board.test
        rows = zip(test.sources, test.references, entry.system.texts, strict=True)
        return [{"source": s, "reference": r, "translation": t} for s, r, t in rows]


def scored(
    held_out: HeldOut, systems: Sequence[System], *, baseline: int | None
) -> tuple[Scoreboard, str]:
    """Return the scoreboard with the copied source as its last row, and the first row's name.

    Rows of one name are told apart by numbers. `baseline` is a place in `systems`, None the copy.
    """
    copied = System(COPY, list(held_out.test.sources), notes=_ABOUT_COPY)
    rows = apart([*systems, copied])
    other = rows[-1 if baseline is None else baseline].name
    return score_systems(held_out.test, rows, baseline=other), rows[0].name


def apart(systems: Sequence[System]) -> list[System]:
    """Return the systems, each with a name of its own."""
    taken: list[System] = []
    for system in systems:
        names, number = {other.name for other in taken}, 2
        name = system.name
        while name in names:
            name, number = f"{system.name} ({number})", number + 1
        taken.append(replace(system, name=name))
    return taken


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on, where it is installed."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _by_segment(entry: Entry) -> dict[str, list[Any]]:
    return {
        "fault": [None if fault is None else str(fault) for fault in entry.faults],
        "chrf": [round(score, 2) for score in entry.segment_scores],
    }
