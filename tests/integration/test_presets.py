"""Recipes that ship and whose base is here: cut short, each beats its base on text held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.harness import dragoman

# Alone on the machine: beside another test they take three times as long.
pytestmark = [pytest.mark.train, pytest.mark.engine]

SHORT = (
    "evaluate.segments=16", "evaluate.samples=4", "evaluate.probes=false",
    "split.test=16", "split.dev=4",
    "schedule.warmup=0.05", "schedule.evaluate_every=1000", "schedule.learning_rate=1.0e-3",
)  # fmt: skip
PRESETS = {
    # Of each of three pairs.
    "jupyter-mul": (
        "clean.max_chars=60", "schedule.max_steps=24", "split.test=8", "evaluate.segments=8",
        "split.dev=2",
    ),
    "qlora-jupyter-en-fr": (
        "clean.max_chars=40", "schedule.max_steps=16", "schedule.batch_size=8",
    ),
    # CPO differs in the loss alone: tests/training/test_preference_fit.py trains by both.
    "jupyter-en-fr-dpo": (
        "clean.max_chars=40", "schedule.max_steps=16", "objective.candidates.per_segment=1",
        "objective.candidates.segments=128",
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_beats_its_base(preset: str, base: Path, tmp_path: Path) -> None:
    changes = [part for change in (*SHORT, *PRESETS[preset]) for part in ("--set", change)]
    done = dragoman("train", preset, "--json", "--out", tmp_path / "run", *changes)
    summary = json.loads(done.stdout)
    assert summary["chrf"] > summary["base_chrf"] + 1, summary
