"""RunLog: what a run says and measures, as files in its folder. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adapters.console import note

TEXT_FILE: Final = "train.log"
METRICS_FILE: Final = "metrics.jsonl"


class RunLog:
    """train.log, lines with their time, and metrics.jsonl, one line a logged step.

    Every line is written at once, so a killed run has all of them. Without a folder, as in the
    processes beside the first, nothing is written or said.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def note(self, message: str) -> None:
        """Tell a person (stderr), and write it down."""
        if self.folder is not None:
            note(message)
            self.write(message)

    def write(self, message: str) -> None:
        """Write a line of train.log."""
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._append(TEXT_FILE, f"{time} {message}")

    def measure(self, step: int, figures: Mapping[str, float]) -> None:
        """Write a line of metrics.jsonl; what is not finite becomes null, as JSON has no NaN."""
        finite = {n: v if math.isfinite(v) else None for n, v in figures.items()}
        self._append(METRICS_FILE, json.dumps({"step": step, **finite}))

    def forget_after(self, step: int) -> None:
        """Remove the figures of later steps: the run goes on from `step`, and they come again."""
        if self.folder is None or not (file := self.folder / METRICS_FILE).is_file():
            return
        rows = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
        kept = [line for line in rows if _step_of(line) <= step]
        file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def figures(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl."""
        if self.folder is None or not (file := self.folder / METRICS_FILE).is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def _append(self, name: str, line: str) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf  # cut short when the run was killed
