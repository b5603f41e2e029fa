"""Scoreboard: systems side by side on one test set, every figure with its signature."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.ids import LanguagePair
from training.evaluate.bootstrap import RESAMPLES, SEED, Comparison, Resampled, resampled
from training.evaluate.fault import Fault
from training.evaluate.faults import Answered, Faults, count, faults_of
from training.evaluate.metrics import Metric, bleu_metric, chrf_metric, chrf_of_each, ter_metric
from training.evaluate.rouge import rouge
from training.task import Task

SIGNIFICANCE = f"paired-bs:{RESAMPLES}|seed:{SEED}|as:sacrebleu"


@dataclass(frozen=True)
class TestSet:
    """What every system translates: texts of one pair with their references."""

    __test__ = False  # pytest takes it for a test otherwise

    name: str
    pair: LanguagePair
    sources: Sequence[str]
    references: Sequence[str]

    @property
    def digest(self) -> str:
        """12 hex digits over all texts: equal for the same test set."""
        rows = zip(self.sources, self.references, strict=True)
        text = "\n".join(f"{source}\t{target}" for source, target in rows)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.name}, {len(self.sources)} segments, sha256:{self.digest}"


@dataclass(frozen=True)
class Cost:
    """What all answers of a system took: tokens in and out, wall seconds."""

    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class System:
    """What one system made of the test set; `notes` say what it is, for people (method, size)."""

    name: str
    texts: Sequence[str]
    cost: Cost | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One score of one system; `versus` compares with the baseline, None for that itself."""

    metric: str
    value: float
    ci95: tuple[float, float] | None
    signature: str
    versus: Comparison | None = None
    lower_is_better: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; gains are points over the baseline."""
        body: dict[str, Any] = {"value": round(self.value, 4), "signature": self.signature}
        if self.ci95 is not None:
            body["ci95"] = [round(bound, 4) for bound in self.ci95]
        if self.versus is not None:
            body["gain"] = round(self.versus.gain, 4)
            body["gain_ci95"] = [round(bound, 4) for bound in self.versus.gain_ci95]
            body["p_value"] = round(self.versus.p_value, 6)
        return body


@dataclass(frozen=True)
class Entry:
    """One system with all its figures. `segment_scores` are chrF++ of each segment by itself."""

    system: System
    figures: tuple[Figure, ...]
    faults: tuple[Fault | None, ...]
    segment_scores: tuple[float, ...]

    def figure(self, metric: str) -> Figure:
        """Return the figure of that name. Raises KeyError."""
        return {figure.metric: figure for figure in self.figures}[metric]

    @property
    def fault_rates(self) -> Faults:
        """How many answers have which fault."""
        return count(self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the texts."""
        return {
            "system": self.system.name,
            **({"notes": dict(self.system.notes)} if self.system.notes else {}),
            "scores": {figure.metric: figure.to_json() for figure in self.figures},
            "faults_percent": self.fault_rates.to_json(),
            **({"cost": self.system.cost.to_json()} if self.system.cost else {}),
        }


@dataclass(frozen=True)
class Scoreboard:
    """All systems on one test set; p-values and gains are over `baseline`, a system's name.

    `drawn` are the resamples by system and metric.
    """

    test: TestSet
    baseline: str | None
    entries: tuple[Entry, ...]
    drawn: Mapping[tuple[str, str], Resampled] = field(default_factory=dict, repr=False)

    def compare(self, system: str, other: str, metric: str = "chrF++") -> Comparison:
        """Return how a system does against another one. Raises KeyError."""
        return self.drawn[system, metric].against(self.drawn[other, metric])

    def entry(self, name: str) -> Entry:
        """Return the entry of that system. Raises KeyError."""
        return {entry.system.name: entry for entry in self.entries}[name]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, in order."""
        return tuple(figure.metric for figure in self.entries[0].figures)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the texts."""
        return {
            "test_set": str(self.test),
            "pair": str(self.test.pair),
            "segments": len(self.test.sources),
            "baseline": self.baseline,
            "significance": SIGNIFICANCE,
            "systems": [entry.to_json() for entry in self.entries],
        }


def score_systems(
    test: TestSet,
    systems: Sequence[System],
    *,
    baseline: str | None = None,
    task: Task = "translation",
) -> Scoreboard:
    """Return the scoreboard; every system has as many texts as `test`, in its order."""
    target = test.pair.target
    metrics = [chrf_metric(), bleu_metric(target), ter_metric(target)]
    drawn = {
        (system.name, metric.name): resampled(metric, system.texts, test.references)
        for metric in metrics
        for system in systems
    }

    def figures(system: System) -> tuple[Figure, ...]:
        other = None if baseline in (None, system.name) else baseline
        own = [
            _figure(
                metric,
                drawn[system.name, metric.name],
                drawn[other, metric.name] if other else None,
            )
            for metric in metrics
        ]
        return (*own, *(_rouges(system, test) if task == "summarization" else ()))

    entries = tuple(_entry(system, figures(system), test) for system in systems)
    return Scoreboard(test, baseline, entries, drawn)


def _figure(metric: Metric, own: Resampled, other: Resampled | None) -> Figure:
    return Figure(
        metric=metric.name,
        value=own.value,
        ci95=own.ci95,
        signature=metric.signature,
        versus=own.against(other) if other is not None else None,
        lower_is_better=metric.lower_is_better,
    )


def _rouges(system: System, test: TestSet) -> list[Figure]:
    found = rouge(system.texts, test.references)
    return [Figure(name, one.value, None, one.signature) for name, one in found.items()]


def _entry(system: System, figures: tuple[Figure, ...], test: TestSet) -> Entry:
    rows = zip(test.sources, test.references, system.texts, strict=True)
    return Entry(
        system=system,
        figures=figures,
        faults=tuple(faults_of([Answered(*row) for row in rows], test.pair)),
        segment_scores=tuple(map(float, chrf_of_each(system.texts, test.references))),
    )
