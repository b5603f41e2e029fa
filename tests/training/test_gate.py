from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from adapters.ids import LanguagePair
from adapters.manifest import Gate
from training.evaluate.bootstrap import Comparison
from training.evaluate.metrics import Scored
from training.evaluate.scores import Evaluation
from training.gate import GateRule, judge

EN_FR = LanguagePair("en", "fr")
RULE = GateRule(min_chrf_gain=10.0)


def versus(gain: float, *, p_value: float = 0.001) -> Comparison:
    interval = (gain - 2, gain + 2)
    return Comparison(60.0, 60.0 - gain, p_value=p_value, ci95=(58.0, 62.0), gain_ci95=interval)


PASSING = Evaluation(
    test_set="t",
    segments=120,
    bleu=Scored(40.0, "s"),
    base_bleu=Scored(20.0, "s"),
    chrf_signature="s",
    over_base=versus(12),
    over_copy=versus(30),
    over_current=None,
)


def judged(evaluation: Evaluation) -> Gate:
    return judge({EN_FR: evaluation}, evaluation.over_base, RULE)


def test_a_clear_gain_passes_and_the_evidence_is_kept() -> None:
    gate = judged(PASSING)
    assert gate.passed
    assert gate.reasons == ("chrF++ 60.0, +12.0 against the base (48.0), p = 0.001",)


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        (replace(PASSING, over_base=versus(9)), "at least +10.0 is needed"),
        (replace(PASSING, over_base=versus(-5)), "-5.0"),
        (replace(PASSING, over_base=versus(12, p_value=0.05)), "must be under 0.05"),
        (replace(PASSING, over_copy=versus(0)), "copying the source"),
        (replace(PASSING, over_current=versus(-3)), "significantly worse"),
    ],
)
def test_each_shortcoming_fails_with_its_reason(evaluation: Evaluation, reason: str) -> None:
    gate = judged(evaluation)
    assert not gate.passed
    assert len(gate.reasons) == 1
    assert reason in gate.reasons[0]


def test_a_little_worse_than_the_version_in_use_is_within_chance() -> None:
    assert judged(replace(PASSING, over_current=versus(-1))).passed


def test_all_shortcomings_are_told_together() -> None:
    worst = replace(PASSING, over_base=versus(-5, p_value=1.0), over_copy=versus(-1))
    assert len(judged(worst).reasons) == 3


def test_a_recipe_cannot_soften_the_significance() -> None:
    with pytest.raises(ValidationError):
        GateRule(max_p_value=0.2)


def test_several_pairs_are_judged_by_their_mean_and_none_may_be_worse() -> None:
    weak = replace(PASSING, over_base=versus(-1))
    assert judge({EN_FR: PASSING, EN_FR.reverse: weak}, versus(11), RULE).passed
    bad = replace(PASSING, over_base=versus(-3))
    gate = judge({EN_FR: PASSING, EN_FR.reverse: bad}, versus(11), RULE)
    assert not gate.passed
    assert gate.reasons == (
        "fr-en: chrF++ 60.0, -3.0 against the base (63.0): significantly worse",
    )
    (reason,) = judge({EN_FR: PASSING, EN_FR.reverse: PASSING}, versus(9), RULE).reasons
    assert "on average over 2 pairs" in reason
