from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serving import deferral


@pytest.mark.parametrize("params", [None, {}, {"do_remote_prefill": True}])
def test_what_the_scheduler_attaches_is_taken_off_and_the_rest_left(
    params: dict[str, Any] | None,
) -> None:
    output = SimpleNamespace(kv_transfer_params=deferral.attach(params, 1.5))
    assert deferral.detach(output) == 1.5
    assert output.kv_transfer_params == (params or None)
    assert deferral.detach(output) is None


def test_outputs_of_another_scheduler_say_nothing() -> None:
    assert deferral.detach(SimpleNamespace()) is None
    assert deferral.detach(SimpleNamespace(kv_transfer_params={"a": 1})) is None
