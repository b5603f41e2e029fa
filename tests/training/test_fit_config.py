from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from training.fit.schedule import Schedule
from training.methods.config import LoraMethod


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank", 0),
        ("rank", 513),
        ("alpha", 0),
        ("dropout", 1.0),
        ("targets", []),
        ("targets", ["q_proj", "lm_head"]),
        ("targets", "everything"),
        ("kind", "dora"),
        ("r", 16),
    ],
)
def test_a_method_that_could_not_be_served_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        LoraMethod.model_validate({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("warmup", 1.0),
        ("max_length", 4),
        ("scheduler", "sawtooth"),
        ("lr", 1e-4),
    ],
)
def test_a_schedule_that_could_not_run_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate({key: value})


def test_a_list_of_targets_and_a_rate_without_a_dot_are_read_from_yaml() -> None:
    text = "{method: {targets: [q_proj, v_proj]}, schedule: {learning_rate: 5e-4, epochs: 2}}"
    document = yaml.safe_load(text)
    assert LoraMethod.model_validate(document["method"]).targets == ("q_proj", "v_proj")
    assert Schedule.model_validate(document["schedule"]).learning_rate == 5e-4
