"""What a fit cannot do, told before anything is prepared for it. Imports no torch."""

from __future__ import annotations

from adapters.errors import TrainingFailed
from training.fit import ranks
from training.fit.schedule import Schedule
from training.objective import Objective, Sft
from training.seq2seq.family import Family


def refuse(schedule: Schedule, objective: Objective, family: Family | None) -> None:
    """Raise TrainingFailed if this objective on this kind of base knows no such schedule."""
    what = f"a {family} base" if family else f"objective.kind: {objective.kind}"
    translates = family is None and objective.kind == "sft"
    rule = schedule.early_stopping
    if rule is not None and rule.metric == "chrf" and not translates:
        raise TrainingFailed(
            f"schedule.early_stopping.metric: chrf translates with what sft trains on a causal "
            f"base, found {what}; use metric: loss"
        )
    regularised = isinstance(objective, Sft) and objective.kl_to_base > 0
    alone = family is not None or regularised or objective.kind not in {"sft", "monolingual"}
    if ranks.count() > 1 and alone:
        found = "objective.kl_to_base" if regularised and family is None else what
        raise TrainingFailed(
            f"{ranks.count()} processes cannot share a fit with {found}, only plain sft and "
            "monolingual on a causal base; start one process"
        )
