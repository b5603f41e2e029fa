"""Instruments with a series for each adapter and version, of which there are never too many."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

Labels = tuple[str, str]
LABEL_NAMES: Final = ("adapter", "version")
OTHER: Final[Labels] = ("other", "")
_MOST: Final = 1000
# Long enough that a scraper has read the last values, and that a version that is evicted and
# comes back goes on where it was.
_KEEP_S: Final = 3600.0


class Roster:
    """The adapters and versions that have series of their own; the rest share `other`."""

    def __init__(
        self,
        *,
        most: int = _MOST,
        keep_s: float = _KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Admit at most `most`; give those that left back after `keep_s` seconds."""
        self._most = most
        self._keep_s = keep_s
        self._clock = clock
        self._members: set[Labels] = set()
        self._left: dict[Labels, float] = {}
        self._instruments: list[Instrument] = []
        # prometheus_client cannot remove a series that several processes share a file of.
        self._removes = "PROMETHEUS_MULTIPROC_DIR" not in os.environ

    def enrol(self, instrument: Instrument) -> None:
        """Remove series from `instrument`, too."""
        self._instruments.append(instrument)

    def admit(self, labels: Labels) -> Labels:
        """Return the labels to count under: these, or `other` while there are too many."""
        if labels in self._members:
            self._left.pop(labels, None)
            return labels
        self._remove_those_who_left()
        if len(self._members) >= self._most:
            return OTHER
        self._members.add(labels)
        return labels

    def forget(self, labels: Labels) -> None:
        """Take it that nothing more will be counted for this version; its series go in an hour."""
        if labels in self._members:
            self._left.setdefault(labels, self._clock())
        self._remove_those_who_left()

    def _remove_those_who_left(self) -> None:
        if not self._removes:
            return
        # In the order in which they left: the first that is not due ends the search.
        for labels, since in list(self._left.items()):
            if self._clock() - since < self._keep_s:
                return
            del self._left[labels]
            self._members.discard(labels)
            for instrument in self._instruments:
                instrument.remove(labels)


class Instrument:
    """A counter, gauge or histogram of prometheus_client, held to a roster."""

    def __init__(self, parent: Any, roster: Roster) -> None:
        """Wrap `parent`, whose first two labels are adapter and version."""
        self.parent = parent
        self._roster = roster
        self._children: dict[Labels, dict[tuple[str, ...], Any]] = {}
        roster.enrol(self)

    def labels(self, adapter: str, version: str, *more: str) -> Any:
        """Return the series of these labels; prometheus_client's own look-up costs ten times."""
        labels = self._roster.admit((adapter, version))
        children = self._children.setdefault(labels, {})
        child = children.get(more)
        if child is None:
            child = children[more] = self.parent.labels(*labels, *more)
        return child

    def remove(self, labels: Labels) -> None:
        """Remove every series of this version."""
        for more in self._children.pop(labels, {}):
            self.parent.remove(*labels, *more)
