"""Which fits are refused before anything is prepared for them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from adapters.errors import TrainingFailed
from training.fit.refusal import refuse
from training.fit.schedule import EarlyStopping, Schedule
from training.objective import Objective
from training.seq2seq.family import Family

OBJECTIVE: TypeAdapter[Objective] = TypeAdapter(Objective)
CHRF = Schedule(early_stopping=EarlyStopping())
LOSS = Schedule(early_stopping=EarlyStopping(metric="loss"))


@pytest.mark.parametrize(
    ("objective", "family", "found"),
    [
        ({"kind": "dpo"}, None, "found objective.kind: dpo"),
        ({"kind": "cpo"}, None, "found objective.kind: cpo"),
        ({"kind": "monolingual"}, None, "found objective.kind: monolingual"),
        ({"kind": "sft"}, Family.MARIAN, "found a marian base"),
    ],
)
def test_stopping_by_chrf_is_refused_where_nothing_can_be_translated(
    objective: dict[str, Any], family: Family | None, found: str
) -> None:
    asked = OBJECTIVE.validate_python(objective)
    with pytest.raises(TrainingFailed, match=f"{found}; use metric: loss"):
        refuse(CHRF, asked, family)
    refuse(LOSS, asked, family)


@pytest.mark.parametrize(
    ("objective", "family", "found"),
    [
        ({"kind": "dpo"}, None, "objective.kind: dpo"),
        ({"kind": "sft", "kl_to_base": 0.1}, None, r"objective\.kl_to_base"),
        ({"kind": "sft"}, Family.T5, "a t5 base"),
    ],
)
def test_several_processes_share_plain_sft_only(
    objective: dict[str, Any],
    family: Family | None,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = OBJECTIVE.validate_python(objective)
    refuse(LOSS, asked, family)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingFailed, match=f"2 processes cannot share a fit with {found}"):
        refuse(LOSS, asked, family)
    refuse(CHRF, OBJECTIVE.validate_python({"kind": "sft"}), None)
