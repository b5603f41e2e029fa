"""The gate: nothing is published that did not beat its base, or that breaks what users need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from adapters.ids import LanguagePair
from adapters.manifest import Check, Gate
from adapters.strict.section import Section
from training.evaluate.fault import Fault

if TYPE_CHECKING:  # a recipe is read without sacreBLEU
    from training.elsewhere import Kept
    from training.evaluate.bootstrap import Comparison
    from training.evaluate.scores import Evaluation


class GateRule(Section):
    """What a candidate must reach."""

    min_chrf_gain: float = Field(
        default=2.0, description="chrF++ points over the base with examples, the mean of all pairs"
    )
    max_p_value: float = Field(
        default=0.05, gt=0, le=0.05, description="at most 0.05: chance that the gain is luck"
    )
    max_fault_rise: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="share of answers that may have a fault (copy, loop, language, …) more than "
        "those of the version in use, or of the base where none is, unless it may be luck",
    )
    max_fault_share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="share of answers that may have a fault at all, of those that could (with "
        "placeholders, say), unless more may be luck",
    )
    max_forgetting: float = Field(
        default=1.0,
        ge=0,
        description="chrF++ points under the base with examples on the text of evaluate.elsewhere",
    )
    max_overfitting: float = Field(
        default=8.0,
        gt=1,
        description="how many times that of training text the perplexity of dev may be",
    )
    max_memorised: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of answers that are a training target word for word, and wrong",
    )
    few_pairs: int = Field(
        default=2000, ge=0, description="a warning where fewer pairs were trained on"
    )
    max_conversion_error: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="share of the trained change that the LoRA which is served for it may miss",
    )


@dataclass(frozen=True)
class Findings:
    """What is judged: each pair's evaluation, their mean over the base, and text of other kinds."""

    evaluations: Mapping[LanguagePair, Evaluation]
    mean: Comparison
    elsewhere: Sequence[Kept] = ()
    trained_pairs: int | None = None


def judge(found: Findings, rule: GateRule) -> Gate:
    """Return whether the candidate passes, with each check by name, and why not or the evidence.

    The gain and its significance are asked of the mean, over the base and over all pairs. Of each
    pair: not significantly worse than the base or the version in use, better than copying, no more
    faults, not memorised; and significantly better than the base without examples, where that is
    measured.
    """
    checks = [_quality(found, rule)]
    for pair, evaluation in found.evaluations.items():
        told = f"{pair}: " if len(found.evaluations) > 1 else ""
        checks += [
            Check(name=check.name, passed=check.passed, detail=told + check.detail)
            for check in _of_pair(evaluation, rule, several=bool(told))
        ]
    checks += [_forgetting(one, rule) for one in found.elsewhere]
    against = tuple(check.detail for check in checks if not check.passed)
    return Gate(
        passed=not against,
        reasons=against or (checks[0].detail,),
        checks=tuple(checks),
        warnings=tuple(_warnings(found, rule)),
    )


def _quality(found: Findings, rule: GateRule) -> Check:
    mean, count = found.mean, len(found.evaluations)
    over = f"the base, on average over {count} pairs" if count > 1 else "the base"
    detail = f"{_gain(mean, over)}, p = {mean.p_value:.3f}"
    enough = mean.gain >= rule.min_chrf_gain
    sure = mean.p_value < rule.max_p_value
    if not enough:
        detail += f"; at least {rule.min_chrf_gain:+.1f} is needed"
    if not sure:
        detail += f"; p must be under {rule.max_p_value:g}"
    return Check(name="quality", passed=enough and sure, detail=detail)


def _of_pair(evaluation: Evaluation, rule: GateRule, *, several: bool) -> Iterator[Check]:
    over_base, over_current = evaluation.over_base, evaluation.over_current
    if several:
        yield _not_worse("base", over_base, "the base")
    if (bare := evaluation.over_zero_shot) is not None:
        detail = f"{_gain(bare, 'the base without examples')}"
        passed = bare.gain_ci95[0] > 0
        wrong = "" if passed else ": not significantly better"
        yield Check(name="zero_shot", passed=passed, detail=detail + wrong)
    copying = evaluation.over_copy
    detail = f"{_gain(copying, 'copying the source')}; it must be better"
    yield Check(name="copying", passed=copying.gain > 0, detail=detail)
    if over_current is not None:
        yield _not_worse("version_in_use", over_current, "the version in use")
    yield from _faults(evaluation, rule)
    yield from _learnt_by_heart(evaluation, rule)


def _not_worse(name: str, versus: Comparison, other: str) -> Check:
    passed = versus.gain_ci95[1] >= 0
    wrong = "" if passed else ": significantly worse"
    return Check(name=name, passed=passed, detail=f"{_gain(versus, other)}{wrong}")


def _faults(evaluation: Evaluation, rule: GateRule) -> Iterator[Check]:
    """Yield a check of each fault: not many more than before, and not many at all.

    Neither by luck; the second since a weak base may have lost half of the placeholders itself.
    """
    from training.evaluate.faults import over_by_chance, rise_by_chance

    own, standard = evaluation.faults, evaluation.standard_faults
    for fault in Fault:
        mine, theirs = (sum(one == fault for one in found) for found in (own, standard))
        could = evaluation.at_risk.get(fault, len(own))
        is_more = mine - theirs > rule.max_fault_rise * len(own)
        is_rise = is_more and rise_by_chance(fault, own, standard) < rule.max_p_value
        is_many = over_by_chance(mine, could, rule.max_fault_share) < rule.max_p_value
        detail = f"{fault.told} in {mine} of {could} answers, {evaluation.standard} {theirs}"
        detail += "; that is more than luck" if is_rise else ""
        detail += f"; at most {rule.max_fault_share:.0%} may have it" if is_many else ""
        yield Check(name=f"fault_{fault}", passed=not (is_rise or is_many), detail=detail)


def _learnt_by_heart(evaluation: Evaluation, rule: GateRule) -> Iterator[Check]:
    share = evaluation.memorised
    yield Check(
        name="memorised",
        passed=share <= rule.max_memorised,
        detail=f"{share:.1%} of answers are a training target word for word, and wrong; at most "
        f"{rule.max_memorised:.0%}",
    )
    if (likely := evaluation.likelihoods) is not None:
        yield Check(
            name="overfitting",
            passed=likely.overfitting <= rule.max_overfitting,
            detail=f"perplexity {likely.dev:.2f} on dev, {likely.overfitting:.1f} times that of "
            f"training text ({likely.train:.2f}); at most {rule.max_overfitting:g} times",
        )


def _forgetting(kept: Kept, rule: GateRule) -> Check:
    if kept.chrf is None:
        detail = (
            f"{kept.name}: perplexity {kept.perplexity:.2f}, base {kept.base_perplexity:.2f}: "
            "told, not judged"
        )
        return Check(name="forgetting", passed=True, detail=detail)
    passed = kept.chrf.gain >= -rule.max_forgetting
    detail = (
        f"{kept.name} ({kept.pair}): {_gain(kept.chrf, 'the base')}; at most "
        f"{rule.max_forgetting:g} worse"
    )
    return Check(name="forgetting", passed=passed, detail=detail)


def _warnings(found: Findings, rule: GateRule) -> Iterator[str]:
    trained = found.trained_pairs
    if trained is not None and trained < rule.few_pairs:
        yield (
            f"trained on {trained} pairs, fewer than {rule.few_pairs}: the gain may not carry over "
            "to other text of the domain"
        )
    if not any(one.chrf for one in found.elsewhere):
        yield (
            "forgetting was not measured: name text of other kinds or pairs in evaluate.elsewhere"
        )


def _gain(versus: Comparison, other: str) -> str:
    return f"chrF++ {versus.value:.1f}, {versus.gain:+.1f} against {other} ({versus.other:.1f})"
