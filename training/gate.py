"""The gate: nothing is published that did not beat its base on text that it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from adapters.ids import LanguagePair
from adapters.manifest import Gate
from adapters.strict.section import Section

if TYPE_CHECKING:  # a recipe is read without sacreBLEU
    from training.evaluate.bootstrap import Comparison
    from training.evaluate.scores import Evaluation


class GateRule(Section):
    """What a candidate must reach."""

    min_chrf_gain: float = Field(
        default=2.0, description="chrF++ points over the base with examples, the mean of all pairs"
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


def judge(evaluations: Mapping[LanguagePair, Evaluation], mean: Comparison, rule: GateRule) -> Gate:
    """Return whether the candidate passes, with every reason against it, or else the evidence.

    The gain and its significance are asked of `mean`, over the base and over all pairs; of each
    pair, that it is not significantly worse than the base or the version in use, and better than
    copying; and significantly better than the base without examples, where that is measured.
    """
    several = len(evaluations) > 1
    over = f"the base, on average over {len(evaluations)} pairs" if several else "the base"
    against = []
    if mean.gain < rule.min_chrf_gain:
        needed = f"at least {rule.min_chrf_gain:+.1f} is needed"
        against.append(f"{_gain(mean, over)}; {needed}")
    if not mean.p_value < rule.max_p_value:
        against.append(
            f"p = {mean.p_value:.3f} that it is not better than {over}; "
            f"it must be under {rule.max_p_value:g}"
        )
    for pair, evaluation in evaluations.items():
        reasons = _against_pair(evaluation, several=several)
        against += [f"{pair}: {reason}" if several else reason for reason in reasons]
    evidence = f"{_gain(mean, over)}, p = {mean.p_value:.3f}"
    return Gate(passed=not against, reasons=tuple(against) or (evidence,))


def _against_pair(evaluation: Evaluation, *, several: bool) -> list[str]:
    over_base, over_copy = evaluation.over_base, evaluation.over_copy
    over_current = evaluation.over_current
    against = []
    if several and over_base.gain_ci95[1] < 0:
        against.append(f"{_gain(over_base, 'the base')}: significantly worse")
    over_bare = evaluation.over_zero_shot
    if over_bare is not None and over_bare.gain_ci95[0] <= 0:
        against.append(f"{_gain(over_bare, 'the base without examples')}: not significantly better")
    if over_copy.gain <= 0:
        against.append(f"{_gain(over_copy, 'copying the source')}; it must be better")
    if over_current is not None and over_current.gain_ci95[1] < 0:
        against.append(f"{_gain(over_current, 'the version in use')}: significantly worse")
    return against


def _gain(versus: Comparison, other: str) -> str:
    return f"chrF++ {versus.value:.1f}, {versus.gain:+.1f} against {other} ({versus.other:.1f})"
