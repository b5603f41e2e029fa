"""The gate: nothing is published that did not beat its base on text that it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from adapters.manifest import Gate
from training.section import Section

if TYPE_CHECKING:  # a recipe is read without sacreBLEU
    from training.evaluate.bootstrap import Comparison
    from training.evaluate.scores import Evaluation


class GateRule(Section):
    """What a candidate must reach."""

    min_chrf_gain: float = Field(
        default=2.0, description="chrF++ points over the base with examples"
    )
    max_p_value: float = Field(
        default=0.05, gt=0, le=0.05, description="at most 0.05: chance that it is not better"
    )
    max_conversion_error: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="share of the trained change that the LoRA which is served for it may miss",
    )


def judge(evaluation: Evaluation, rule: GateRule) -> Gate:
    """Return whether the candidate passes, with every reason against it, or else the evidence."""
    over_base, over_copy = evaluation.over_base, evaluation.over_copy
    over_current = evaluation.over_current
    against = []
    if over_base.gain < rule.min_chrf_gain:
        needed = f"at least {rule.min_chrf_gain:+.1f} is needed"
        against.append(f"{_gain(over_base, 'the base')}; {needed}")
    if not over_base.p_value < rule.max_p_value:
        against.append(
            f"p = {over_base.p_value:.3f} that it is not better than the base; "
            f"it must be under {rule.max_p_value:g}"
        )
    if over_copy.gain <= 0:
        against.append(f"{_gain(over_copy, 'copying the source')}; it must be better")
    if over_current is not None and over_current.gain_ci95[1] < 0:
        against.append(f"{_gain(over_current, 'the version in use')}: significantly worse")
    evidence = f"{_gain(over_base, 'the base')}, p = {over_base.p_value:.3f}"
    return Gate(passed=not against, reasons=tuple(against) or (evidence,))


def _gain(versus: Comparison, other: str) -> str:
    return f"chrF++ {versus.value:.1f}, {versus.gain:+.1f} against {other} ({versus.other:.1f})"
