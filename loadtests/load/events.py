"""What happens to the server while it is loaded."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from adapters.strict.section import Section


class _At(Section):
    at_s: float = Field(ge=0, description="after the warm-up")
    every_s: float | None = Field(default=None, gt=0, description="and again so often")

    def times(self, seconds: float) -> list[float]:
        """Return when it happens within the `seconds` that count."""
        if self.every_s is None:
            return [self.at_s]
        return [
            self.at_s + i * self.every_s
            for i in range(int((seconds - self.at_s) / self.every_s) + 1)
        ]


class Swap(_At):
    """The stable version of an adapter moves, to its other one; adapters in turn."""

    kind: Literal["swap"]


class KillEngine(_At):
    """kill -9 of the engine's process."""

    kind: Literal["kill_engine"]


class HideStore(_At):
    """The registry's folder is away, as a mount that was lost."""

    kind: Literal["hide_store"]
    for_s: float = Field(gt=0)


class SlowDisk(_At):
    """Adapters are read from a disk that is kept busy, and never from the page cache."""

    kind: Literal["slow_disk"]
    for_s: float = Field(gt=0)


class Command(_At):
    """A command of yours: `kubectl delete pod ...`; its failure is told and ends nothing."""

    kind: Literal["command"]
    run: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


Event = Annotated[Swap | KillEngine | HideStore | SlowDisk | Command, Field(discriminator="kind")]
# Only who started the server can do these.
OURS_ONLY: Final = (Swap, KillEngine, HideStore, SlowDisk)
