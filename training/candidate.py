"""Candidate: a trained and measured adapter, before anybody decides what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base_model import BaseModelRef
from adapters.manifest import Gate, Golden
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
            "train_steps_skipped": self.fit.skipped,
            "loss_spikes": list(self.fit.spikes),
            "dev_chrf": [[step, round(value, 2)] for step, value in self.fit.dev_chrf],
            "kept_steps": list(self.fit.kept_steps),
            "peak_rss_gb": round(self.fit.peak_rss_gb, 2),
            "segments": self.data.split,
            "dropped": self.data.clean["dropped"],
            "gate": self.gate.model_dump(mode="json"),
            "samples": [
                {"source": r.source, "translation": r.candidate, "reference": r.reference}
                for r in self.rows[: self.recipe.evaluate.samples]
            ],
        }
