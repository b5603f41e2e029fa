"""Which versions may answer a name: every change of the registry is noted with its time."""

from __future__ import annotations

from dataclasses import dataclass, field

Span = tuple[float, float]


@dataclass
class Switch:
    """From `begun_s` on the new version may answer; after `ended_s` the old one no longer."""

    digest: str
    begun_s: float
    ended_s: float


@dataclass
class Ledger:
    """Stable versions of each id over time, and versions that are deleted."""

    switches: dict[str, list[Switch]] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)  # digest: when it was last deleted

    def switched(self, name: str, digest: str, span: Span) -> None:
        """Note that `name` means `digest` since that time."""
        self.switches.setdefault(name, []).append(Switch(digest, *span))

    def lag_s(self, name: str, digest: str, span: Span) -> float | None:
        """Return how long before the question the answer's version had been left; None: never one.

        0 if the version was the name's own at some time between question and answer.
        """
        asked, answered = span
        history = self.switches[name]
        lags = [
            max(0.0, asked - following.ended_s)
            for switch, following in zip(history, [*history[1:], _NEVER], strict=True)
            if switch.digest == digest and switch.begun_s <= answered
        ]
        return min(lags, default=None)

    def may_be_gone(self, digest: str, span: Span) -> bool:
        """Return whether the version was deleted between question and answer: 404 is right."""
        return span[0] <= self.deleted.get(digest, float("inf")) <= span[1]


_NEVER = Switch("", float("inf"), float("inf"))
