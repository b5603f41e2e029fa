"""How much of its throughput an engine gives: learnt from its own steps."""

from __future__ import annotations

from typing import Final

# Of each step, the weight of all before it: some thousand steps count, a minute or two.
_FORGET: Final = 0.9995
# Fewer steps, or steps that are all alike, say nothing about how time grows with the batch.
_LEAST_STEPS: Final = 200.0
_LEAST_SPREAD: Final = 0.25
# A pause of the whole machine is no step.
_LONGEST_S: Final = 5.0


class StepTimes:
    """A line through the times of steps: one request in the batch, and each one more.

    A batch makes a step slower, but far less than in proportion: on two cores half a batch
    gives three quarters of a full one's throughput. So seats in use are not the share of the
    capacity that is used, and an autoscaler that takes them for it adds a pod, sees the use
    fall by more than it reckoned with, takes the pod away, and so on.
    """

    def __init__(self) -> None:
        self._count = self._n = self._nn = self._s = self._ns = 0.0
        self._growth = 0.0  # of a step's time by one more request, over a step's with none

    def note(self, running: int, seconds: float) -> None:
        """Take in a step that made a token for each of `running` requests, and no prompt."""
        if not running or seconds > _LONGEST_S:
            return
        self._count = self._count * _FORGET + 1
        self._n = self._n * _FORGET + running
        self._nn = self._nn * _FORGET + running * running
        self._s = self._s * _FORGET + seconds
        self._ns = self._ns * _FORGET + running * seconds

    def share(self, running: int, full: float) -> float:
        """Return the throughput with so many requests over that with `full` (a full batch)."""
        if not running:
            return 0.0
        growth = self._learnt()
        of_all = running * (1 + growth * full) / (full * (1 + growth * running))
        return min(1.0, of_all)

    def _learnt(self) -> float:
        """Return the growth as last learnt; 0 until there is something to learn from."""
        if self._count >= _LEAST_STEPS:
            mean = self._n / self._count
            spread = self._nn / self._count - mean * mean
            if spread >= _LEAST_SPREAD:
                slope = (self._ns / self._count - mean * self._s / self._count) / spread
                alone = self._s / self._count - slope * mean
                # Noise can tip the line: a step never gets shorter with more in it.
                self._growth = slope / alone if slope > 0 and alone > 0 else self._growth
        return self._growth
