"""A request that the door let in, for all who handle it further on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from serving.door.backlog import Job
from serving.door.caller import ANYBODY, Caller
from serving.door.used import Used


@dataclass(slots=True, eq=False)
class Admitted:
    """Who sent it, what it holds, and what it has used.

    hold: what was charged against the key's quota (meter.Hold), if it has one.
    """

    caller: Caller = ANYBODY
    job: Job | None = None
    hold: Any = None
    began: float | None = None
    # That of its ASGI scope, which the log reads at the end.
    state: dict[str, Any] = field(default_factory=dict)
    used: Used = field(default_factory=Used)


# Set for the span of one request, in its task and those that come of it.
current: Final[ContextVar[Admitted | None]] = ContextVar("dragoman_admitted", default=None)


@contextmanager
def at_hand(admitted: Admitted) -> Iterator[None]:
    """Make it the request at hand."""
    token = current.set(admitted)
    try:
        yield
    finally:
        current.reset(token)


def caller() -> Caller:
    """Return who sent the request at hand; anybody, outside of one."""
    admitted = current.get()
    return admitted.caller if admitted is not None else ANYBODY
