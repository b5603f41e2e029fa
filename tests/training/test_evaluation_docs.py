"""docs/evaluation.md: its YAML is what recipes and comparisons take, its table is the gate's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from training.comparison.spec import Comparison
from training.evaluate.fault import Fault
from training.gate import GateRule
from training.recipe import EvaluateSection

PAGE: Final = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_its_blocks_are_sections_of_a_recipe_and_a_comparison() -> None:
    recipe, comparison = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    )
    section = EvaluateSection.model_validate(recipe["evaluate"])
    assert [source.kind for source in section.elsewhere] == ["jsonl", "jsonl", "text"]
    assert [system.kind for system in Comparison.model_validate(comparison).systems] == [
        "base", "base", "training", "training", "endpoint",
    ]  # fmt: skip


def test_it_names_every_key_of_the_gate_with_its_default() -> None:
    defaults = {name: info.default for name, info in GateRule.model_fields.items()}
    assert {name for name in defaults if f"`{name}`" not in PAGE} == set()
    told = " ".join(PAGE.split())
    for text in (
        "2.0 over the base", "p ≥ 0.05", "more than 3 %", "more than 25 %", "more than 5 %",
        "more than 8 times", "more than 1.0 under", "30 %", "2,000 pairs",
    ):  # fmt: skip
        assert text in told
    assert defaults == {
        "min_chrf_gain": 2.0, "max_p_value": 0.05, "max_fault_rise": 0.03,
        "max_fault_share": 0.25, "max_forgetting": 1.0, "max_overfitting": 8.0,
        "max_memorised": 0.05, "few_pairs": 2000, "max_conversion_error": 0.3,
    }  # fmt: skip


def test_it_tells_of_every_fault() -> None:
    (told,) = re.findall(r"- \*\*Faults\*\*(.*?)\n- ", PAGE, re.DOTALL)
    for word in ("empty", "copy", "loop", "language", "long or short", "placeholders", "numbers"):
        assert word in told
    assert len(Fault) == 7
