"""Guard: steps that would spoil the weights are left out, and losses that jump are noted."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from adapters.errors import TrainingFailed

# One bad batch or a cold optimizer gives one or two; more in a row will not end by themselves.
MAX_IN_A_ROW: Final = 5
_WINDOW: Final = 50
_LEAST: Final = 10
_SIGMAS: Final = 3.0
_TIMES_MEDIAN: Final = 2.0


class Guard:
    """Judges each step by its loss and by the norm of its gradient, before the optimizer."""

    def __init__(self, say: Callable[[str], None], *, advice: str) -> None:
        self.skipped = 0
        self.spikes: list[int] = []
        self._say = say
        self._advice = advice
        self._in_a_row = 0
        self._window: deque[float] = deque(maxlen=_WINDOW)

    def accepts(self, step: int, loss: float, norm: float) -> bool:
        """Return whether the step may be taken.

        Raises TrainingFailed, with the advice, after more than MAX_IN_A_ROW that may not.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            self._watch(step, loss)
            return True
        self.skipped += 1
        self._in_a_row += 1
        what = "loss" if not math.isfinite(loss) else "gradient"
        self._say(f"fit: step {step} left out, its {what} is not finite")
        if self._in_a_row > MAX_IN_A_ROW:
            raise TrainingFailed(
                f"the {what} was not finite in {self._in_a_row} steps in a row, up to step {step}; "
                + self._advice
            )
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return counts and window."""
        return {
            "skipped": self.skipped,
            "spikes": list(self.spikes),
            "in_a_row": self._in_a_row,
            "window": list(self._window),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.skipped = state["skipped"]
        self.spikes = list(state["spikes"])
        self._in_a_row = state["in_a_row"]
        self._window = deque(state["window"], maxlen=_WINDOW)

    def _watch(self, step: int, loss: float) -> None:
        if len(self._window) >= _LEAST and loss > _bound(self._window):
            self.spikes.append(step)
            usual = statistics.median(self._window)
            self._say(f"fit: the loss jumped to {loss:.2f} in step {step}, usual is {usual:.2f}")
        self._window.append(loss)


def _bound(window: deque[float]) -> float:
    return max(
        statistics.fmean(window) + _SIGMAS * statistics.pstdev(window),
        _TIMES_MEDIAN * statistics.median(window),
    )
