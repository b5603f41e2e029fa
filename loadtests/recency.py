"""Which adapter is in which tier, told from outside: every tier forgets the oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tiers:
    """How many adapters a server keeps in the engine's slots, and in memory altogether."""

    slots: int
    memory: int


class Recency:
    """The adapters of one server, in the order of their last use."""

    def __init__(self, names: Iterable[str], tiers: Tiers) -> None:
        """Begin with `names` loaded in this order, or none loaded at all."""
        self._names = list(names)
        self._tiers = tiers

    @property
    def memory(self) -> int:
        """How many adapters the server keeps in memory."""
        return self._tiers.memory

    def touch(self, name: str) -> None:
        """Note that `name` was asked for."""
        self._names.remove(name)
        self._names.append(name)

    def on_disk(self, count: int) -> list[str]:
        """Return `count` adapters that are in no tier, oldest first. Raises ValueError."""
        return self._taken(self._names[: len(self._names) - self._tiers.memory], count, "on disk")

    def in_memory(self, count: int) -> list[str]:
        """Return `count` adapters that are in memory and in no slot, oldest first.

        To be asked in this order: then each is still without a slot at its turn.
        """
        first, last = len(self._names) - self._tiers.memory, len(self._names) - self._tiers.slots
        return self._taken(self._names[max(first, 0) : last], count, "in memory")

    def in_slots(self, count: int) -> list[str]:
        """Return the `count` adapters that were asked for last."""
        return self._taken(self._names[-self._tiers.slots :], count, "in slots")

    def _taken(self, names: Sequence[str], count: int, where: str) -> list[str]:
        if len(names) < count:
            raise ValueError(
                f"{count} adapters {where} are wanted, there are {len(names)} of "
                f"{len(self._names)}: give the bench more adapters"
            )
        return list(names[:count])
