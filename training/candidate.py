"""Candidate: a trained and measured adapter, before anybody decides what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base_model import BaseModelRef
from adapters.manifest import Gate, Golden
from training.evaluate.bootstrap import Comparison
from training.evaluate.scores import Evaluation
from training.fit.result import FitResult
from training.prepare import DataReport
from training.recipe import Recipe


@dataclass(frozen=True)
class Row:
    """One segment of the test set, as every system has it."""

    source: str
    reference: str
    candidate: str
    base: str


@dataclass(frozen=True)
class Candidate:
    """Everything that the report, the summary and the manifest are made of."""

    recipe: Recipe
    base: BaseModelRef
    base_folder: Path
    base_licence: str
    data: DataReport
    fit: FitResult
    evaluation: Evaluation
    base_asked: str
    rows: tuple[Row, ...]
    golden: tuple[Golden, ...]
    gate: Gate
    hardware: str

    def summary(self) -> dict[str, Any]:
        """Return the run in figures: summary.json."""
        versus, evaluation = self.evaluation.over_base, self.evaluation
        return {
            "id": str(self.recipe.id),
            "base": str(self.base),
            "base_asked": self.base_asked,
            "base_bleu": round(evaluation.base_bleu.value, 2),
            "bleu": round(evaluation.bleu.value, 2),
            "base_chrf": round(versus.other, 2),
            **({} if (start := evaluation.over_start) is None else _start(start)),
            **_preferences(self.fit),
            "chrf": round(versus.value, 2),
            "chrf_ci95": [round(bound, 2) for bound in versus.ci95],
            "copy_chrf": round(evaluation.over_copy.other, 2),
            "p_value": round(versus.p_value, 6),
            "signature": evaluation.chrf_signature,
            "bleu_signature": evaluation.bleu.signature,
            "test_set": evaluation.test_set,
            "train_s": round(self.fit.seconds, 1),
            "train_tok_s": round(self.fit.tok_s, 1),
            "train_steps": self.fit.steps,
            "peak_rss_gb": round(self.fit.peak_rss_gb, 2),
            "segments": self.data.split,
            "dropped": self.data.clean["dropped"],
            "gate": self.gate.model_dump(mode="json"),
            "samples": [
                {"source": r.source, "translation": r.candidate, "reference": r.reference}
                for r in self.rows[: self.recipe.evaluate.samples]
            ],
        }


def _start(over_start: Comparison) -> dict[str, float]:
    return {
        "start_chrf": round(over_start.other, 2),
        "start_p_value": round(over_start.p_value, 6),
    }


def _preferences(fit: FitResult) -> dict[str, list[float]]:
    if not fit.preferences:
        return {}
    (_, before, margin_before), (_, after, margin) = fit.preferences[0], fit.preferences[-1]
    return {
        "dev_preferred": [round(before, 4), round(after, 4)],
        "dev_reward_margin": [round(margin_before, 4), round(margin, 4)],
    }
