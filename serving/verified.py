"""What was found out about versions on disk, for as long as their folders look the same."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from adapters.errors import DragomanError
from adapters.registry import Published
from adapters.version_folder import identity

# How long a fault is believed: the engine's may pass, or another file system's change be unseen.
_FAULT_S: Final = 5.0
_MOST: Final = 1000


class Verified:
    """Verifies a version once, not at each of its loads; a broken one costs a few `stat`s."""

    def __init__(
        self,
        verify: Callable[[Published], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `verify`, which raises a DragomanError about a version that must not be loaded."""
        self._verify = verify
        self._clock = clock
        # By folder: the look of it, the fault, and when the fault was found. Callers are threads.
        self._found: OrderedDict[str, tuple[str, DragomanError | None, float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, published: Published) -> str:
        """Return the look of a sound version's folder, empty if it just changed.

        Raises what is wrong with the version.
        """
        look = _look(published)
        known = self._found.get(str(published.folder))
        if known is not None and look and known[0] == look and not self._is_over(known):
            fault = known[1]
        else:
            fault = self._fault(published)
            self._note(published, look, fault)
        if fault is not None:
            raise fault.with_traceback(None)
        return look

    def note_fault(self, published: Published, fault: DragomanError) -> None:
        """Remember what only the engine found to be wrong."""
        self._note(published, _look(published), fault)

    def _fault(self, published: Published) -> DragomanError | None:
        try:
            self._verify(published)
        except DragomanError as fault:
            return fault
        return None

    def _note(self, published: Published, look: str, fault: DragomanError | None) -> None:
        if not look:
            return
        with self._lock:
            self._found[str(published.folder)] = look, fault, self._clock()
            self._found.move_to_end(str(published.folder))
            while len(self._found) > _MOST:
                self._found.popitem(last=False)

    def _is_over(self, known: tuple[str, DragomanError | None, float]) -> bool:
        return known[1] is not None and self._clock() - known[2] > _FAULT_S


def _look(published: Published) -> str:
    try:
        return identity(published.folder)
    except OSError:
        return ""  # verifying says what is wrong
