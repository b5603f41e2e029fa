"""Every method trains through the same fit."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM

from tests.training import tiny
from training.encode import IGNORED, Encoded
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import Method

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

SCHEDULE = Schedule(epochs=4, batch_size=4, learning_rate=2e-2, warmup=0.0, evaluate_every=6)
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "rslora": {"rank": 4, "rslora": True},
    "dora": {"rank": 4, "dora": True},
    "pissa": {"rank": 4, "init": "pissa"},
    "olora": {"rank": 4, "init": "olora"},
    "corda": {"rank": 4, "init": "corda"},
    "adalora": {"kind": "adalora", "rank": 4, "start_rank": 6},
    "loha": {"kind": "loha", "rank": 4},
    "lokr": {"kind": "lokr", "rank": 4, "factor": 4},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 4},
    "prompt": {"kind": "prompt", "tokens": 16},
    "bottleneck": {"kind": "bottleneck", "size": 8},
    "full": {"kind": "full"},
}


def parse(body: dict[str, Any]) -> Method:
    method: Method = TypeAdapter(Method).validate_python(body)
    return method


def untrained(base: Path, rows: Sequence[Encoded]) -> float:
    """Return the base's own loss per target token."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    labels = [torch.tensor([row.labels]) for row in rows]
    counts = [int((label[:, 1:] != IGNORED).sum()) for label in labels]
    with torch.inference_mode():
        losses = [
            float(model(torch.tensor([row.input_ids]), labels=label).loss)
            for row, label in zip(rows, labels, strict=True)
        ]
    return float(sum(map(mul, losses, counts)) / sum(counts))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_what_its_base_does_not_know(name: str, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    rows = tiny.lessons(base)
    # A few factors say little to a random model, so they must say it loudly.
    few = name == "ia3"
    schedule = SCHEDULE.model_copy(update={"learning_rate": 0.5} if few else {})
    result = fit(rows, rows[:5], base, parse(METHODS[name]), schedule, tmp_path / "run")
    found = result.dev_losses[-1][1]
    assert found < untrained(base, rows[:5]) - (0.01 if few else 0.02), result.dev_losses
    assert result.trainable_parameters > 0


def test_every_kind_of_the_recipe_is_tried() -> None:
    members = get_args(get_args(Method)[0])
    kinds = {get_args(m.model_fields["kind"].annotation)[0] for m in members}
    tried = {parse(body).kind for body in METHODS.values()}
    assert kinds == tried
