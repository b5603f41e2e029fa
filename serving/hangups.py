"""What SIGHUP means: the terminal that the server was started from is gone, or "read again"."""

from __future__ import annotations

import os
import time
from typing import Final

_TERMINAL: Final = "/dev/tty"
# A leader of a session that exits signals first and gives up its terminal after that
# (disassociate_ctty in Linux's drivers/tty/tty_jobctrl.c): with less we might find it there still.
_GIVEN_UP_AFTER_S: Final = 0.05


class Hangups:
    """Counts them, for a loop that acts on them."""

    def __init__(self) -> None:
        self._count = 0
        self._had_terminal = has_terminal()

    def count(self, *_: object) -> None:
        """Handle the signal. Only counts: it may interrupt any code, and much must not run then."""
        self._count += 1

    def take(self) -> bool:
        """Return whether any came since it was asked last."""
        count, self._count = self._count, 0
        return count > 0

    def lost_terminal(self) -> bool:
        """Return whether there was a terminal at the start, and it is gone."""
        if not self._had_terminal:
            return False
        time.sleep(_GIVEN_UP_AFTER_S)
        return not has_terminal()


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
