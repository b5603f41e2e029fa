"""What a run of the `dragoman` command gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def one_line(ran: Ran, code: str) -> str:
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith(f"error[{code}]: ")
    assert ran.err.count("\n") == 1
    return ran.err
