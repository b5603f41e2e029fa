"""Candidate: a trained and measured adapter, before anybody decides what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from adapters.base_model import BaseModelRef, read_config
from adapters.manifest import Gate
from training.build.report import DataReport
from training.elsewhere import Kept
from training.evaluate.bootstrap import Comparison
from training.evaluate.faults import count
from training.fit.result import FitResult
from training.measure import Measured, Row
from training.methods.served import Served, how_served, name_of
from training.recipe import Recipe


@dataclass(frozen=True)
class Candidate:
    """Everything that the report, the summary and the manifest are made of.

    `measured` holds each pair, `over_base` their mean against the base with examples.
    """

    recipe: Recipe
    base: BaseModelRef
    base_folder: Path
    base_licence: str
    data: DataReport
    fit: FitResult
    measured: tuple[Measured, ...]
    over_base: Comparison
    gate: Gate
    hardware: str
    elsewhere: tuple[Kept, ...] = ()

    @property
    def served(self) -> Served:
        """How it reaches a server."""
        model_type = str(read_config(self.base_folder).get("model_type"))
        return how_served(self.recipe.method, model_type)

    def summary(self) -> dict[str, Any]:
        """Return the run in figures: summary.json. Scores are means of all pairs."""
        versus, evaluations = self.over_base, [m.evaluation for m in self.measured]
        by_pair = {str(m.pair): figures_of(m) for m in self.measured}
        converted = self.fit.conversion
        return {
            "id": str(self.recipe.id),
            "base": str(self.base),
            "method": name_of(self.recipe.method),
            "served": {"way": str(self.served.way), "why": self.served.why},
            "learning_rate": self.recipe.schedule.learning_rate,
            "base_asked": _either(m.base_asked for m in self.measured),
            "base_bleu": round(fmean(e.base_bleu.value for e in evaluations), 2),
            "bleu": round(fmean(e.bleu.value for e in evaluations), 2),
            "base_chrf": round(versus.other, 2),
            **_preferences(self.fit),
            "chrf": round(versus.value, 2),
            "chrf_ci95": [round(bound, 2) for bound in versus.ci95],
            "copy_chrf": round(fmean(e.over_copy.other for e in evaluations), 2),
            "p_value": round(versus.p_value, 6),
            "signature": _either(e.chrf_signature for e in evaluations),
            "bleu_signature": _either(e.bleu.signature for e in evaluations),
            "test_set": _either(e.test_set for e in evaluations),
            **({"pairs": by_pair} if len(by_pair) > 1 else _further_of(self.measured[0])),
            **self.fit.figures(),
            "segments": self.data.split,
            "dropped": self.data.clean["dropped"],
            "conversion": converted and converted.model_dump(mode="json"),
            "elsewhere": [one.to_json() for one in self.elsewhere],
            "gate": self.gate.model_dump(mode="json"),
            "samples": [
                {"source": r.source, "translation": r.candidate, "reference": r.reference}
                for m in self.measured
                for r in self.samples_of(m)
            ],
        }

    @property
    def shown_of_each(self) -> int:
        """How many segments of each pair are shown: its share of the recipe's `samples`."""
        return -(-self.recipe.evaluate.samples // len(self.measured))

    def samples_of(self, measured: Measured) -> tuple[Row, ...]:
        """Return the rows of a pair that are shown."""
        return measured.rows[: self.shown_of_each]


def figures_of(measured: Measured) -> dict[str, Any]:
    """Return the scores of one pair, rounded, with their signatures."""
    evaluation = measured.evaluation
    versus = evaluation.over_base
    return {
        "base_asked": measured.base_asked,
        "base_bleu": round(evaluation.base_bleu.value, 2),
        "bleu": round(evaluation.bleu.value, 2),
        "base_chrf": round(versus.other, 2),
        "chrf": round(versus.value, 2),
        "chrf_ci95": [round(bound, 2) for bound in versus.ci95],
        "copy_chrf": round(evaluation.over_copy.other, 2),
        "p_value": round(versus.p_value, 6),
        "signature": evaluation.chrf_signature,
        "bleu_signature": evaluation.bleu.signature,
        "test_set": evaluation.test_set,
        **_further_of(measured),
    }


def _further_of(measured: Measured) -> dict[str, Any]:
    evaluation = measured.evaluation
    figures: dict[str, Any] = {
        "faults_percent": count(evaluation.faults).to_json(),
        "memorised_percent": round(100 * evaluation.memorised, 2),
    }
    if measured.probes:
        figures["probes"] = {
            probe.name: None if probe.value is None else round(probe.value, 2)
            for probe in measured.probes
        }
    if (likely := evaluation.likelihoods) is not None:
        figures["perplexity_of_references"] = likely.to_json()
    if evaluation.over_zero_shot is not None:
        figures["zero_shot_asked"] = measured.zero_shot_asked
        figures["zero_shot_chrf"] = round(evaluation.over_zero_shot.other, 2)
    if evaluation.over_start is not None:
        figures["start_chrf"] = round(evaluation.over_start.other, 2)
        figures["start_p_value"] = round(evaluation.over_start.p_value, 6)
    if evaluation.further:
        figures["further"] = {
            one.metric: {
                "value": round(one.value, 2),
                "base": round(one.base, 2),
                "zero_shot": None if one.zero_shot is None else round(one.zero_shot, 2),
                "signature": one.signature,
            }
            for one in evaluation.further
        }
    return figures


def _either(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def _preferences(fit: FitResult) -> dict[str, list[float]]:
    if not fit.preferences:
        return {}
    (_, before, margin_before), (_, after, margin) = fit.preferences[0], fit.preferences[-1]
    return {
        "dev_preferred": [round(before, 4), round(after, 4)],
        "dev_reward_margin": [round(margin_before, 4), round(margin, 4)],
    }
