"""Neural scores: each system by metrics that run as commands of their own."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from adapters.errors import MetricFailed
from training.evaluate.neural import NeuralMetric
from training.evaluate.neural_tools import tool_of
from training.evaluate.scoreboard import Scoreboard


@dataclass(frozen=True)
class NeuralScores:
    """One metric's scores by system; higher is better unless it says otherwise."""

    metric: str
    signature: str
    lower_is_better: bool
    systems: dict[str, float]

    @classmethod
    def of(cls, metric: NeuralMetric, board: Scoreboard) -> Self:
        """Return the scores of all systems of the board. Raises MetricFailed."""
        test = board.test
        found = {
            entry.system.name: metric.score(test.sources, entry.system.texts, test.references)
            for entry in board.entries
        }
        first = next(iter(found.values()))
        values = {name: scored.value for name, scored in found.items()}
        return cls(metric.name, first.signature, first.lower_is_better, values)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "metric": self.metric,
            "signature": self.signature,
            "lower_is_better": self.lower_is_better,
            "systems": {name: round(value, 2) for name, value in self.systems.items()},
        }


def parse_metrics(named: Sequence[str]) -> tuple[NeuralMetric, ...]:
    """Return what was named as NAME=COMMAND. Raises MetricFailed.

    What is told here would else be told after everything was translated.
    """
    return tuple(map(_parsed, named))


def _parsed(named: str) -> NeuralMetric:
    name, is_named, line = named.partition("=")
    try:
        command = tuple(shlex.split(line))
    except ValueError as error:
        raise MetricFailed(f"--neural {named}: {error}; mend the quotes") from error
    if not is_named or not command:
        raise MetricFailed(
            f"--neural {named}: expected NAME=COMMAND, for example "
            '"COMET=comet-score --model Unbabel/wmt22-comet-da"'
        )
    if tool_of(name) is None:
        raise MetricFailed(
            f"--neural {named}: expected a name with comet or metricx in it, found {name!r}"
        )
    if shutil.which(command[0]) is None:
        raise MetricFailed(
            f"--neural {named}: no command {command[0]} here; install the metric in an "
            "environment of its own and name the path of its command"
        )
    return NeuralMetric(name, command)
