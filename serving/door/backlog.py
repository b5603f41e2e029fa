"""The work that was let in and is not done: how long it will take, and whose it is."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from serving.door.caller import Caller
from serving.door.key import Priority
from serving.door.speed import Speed

# Until a model has answered, its answers are taken to be this long, in tokens.
_FIRST_GUESS: Final = 64.0
_LEARNING: Final = 0.1
_MOST_MODELS: Final = 4096
_QUEUE_S: Final = 1.0
_SLOWLY: Final = 0.01
# More than that is no bias: answers of another length than those before.
_MOST_OFF: Final = 1.5


@dataclass(slots=True, eq=False)
class Job:
    """One request that was let in: its answers, and the tokens that they should have."""

    caller: str
    weight: float
    priority: Priority
    model: str
    answers: int
    tokens: float
    since: float
    forecast_s: float


class Backlog:
    """Sums over the jobs of one API process.

    How long they take is Little's law: requests in the system over requests done a second, here
    in tokens, so that long answers count for more. What that leaves out (long prompts, work beside
    the engine) is learnt from how long jobs did take.
    """

    def __init__(
        self, speed: Speed, seats: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take `seats` for how many requests the engine runs at a time."""
        self.seats = seats
        self._speed = speed
        self._clock = clock
        self._bias = 1.0
        self._jobs: dict[str, dict[Job, None]] = {}
        self._answers: OrderedDict[str, float] = OrderedDict()
        self._sums: dict[Priority, float] = {"interactive": 0.0, "bulk": 0.0}
        self.answers = 0

    def expected(self, model: str, answers: int, most_tokens: int | None) -> float:
        """Return how many tokens the answers of a request should have."""
        each = self._answers.get(model, _FIRST_GUESS)
        return answers * (each if most_tokens is None else min(each, most_tokens))

    def begin(self, caller: Caller, model: str, answers: int, tokens: float) -> Job:
        """Add a request that was let in."""
        forecast_s = self.seconds(caller.priority) or 0.0
        job = Job(
            caller.name, caller.weight, caller.priority, model, answers, tokens, self._clock(),
            forecast_s,
        )  # fmt: skip
        self._jobs.setdefault(job.caller, {})[job] = None
        self._count(job, +1)
        return job

    def end(self, job: Job, *, completion_tokens: int) -> None:
        """Take out a request; learn how long its answers were, if there were any."""
        jobs = self._jobs[job.caller]
        del jobs[job]
        if not jobs:
            del self._jobs[job.caller]
        self._count(job, -1)
        if completion_tokens:
            self._learn(job)
            mean = self._answers.pop(job.model, _FIRST_GUESS)
            mean += _LEARNING * (completion_tokens / job.answers - mean)
            self._answers[job.model] = mean
            while len(self._answers) > _MOST_MODELS:
                self._answers.popitem(last=False)

    def _learn(self, job: Job) -> None:
        """Take in how long a job took that found a queue; of a short one its own time is most."""
        if job.forecast_s >= _QUEUE_S:
            off = (self._clock() - job.since) / job.forecast_s
            self._bias *= 1 + _SLOWLY * (min(_MOST_OFF, max(1 / _MOST_OFF, off)) - 1)
            self._bias = min(_MOST_OFF, max(1 / _MOST_OFF, self._bias))

    def seconds(self, priority: Priority = "bulk") -> float | None:
        """Return how long the work takes that goes before a new request of that priority.

        None where it cannot be told yet.
        """
        tokens = self._sums["interactive"]
        if priority == "bulk":
            tokens += self._sums["bulk"]
        return self._in_seconds(tokens)

    def seconds_of(self, caller: str) -> float:
        """Return how long one caller's work would take by itself; 0 where it cannot be told."""
        tokens = sum(job.tokens for job in self._jobs.get(caller, ()))
        return self._in_seconds(tokens) or 0.0

    def share_of(self, caller: Caller) -> float:
        """Return a caller's share beside those who have work here, by weight; 1 alone."""
        others = [
            next(iter(jobs)).weight for name, jobs in self._jobs.items() if name != caller.name
        ]
        return caller.weight / (caller.weight + sum(others))

    def seconds_per(self, tokens: float) -> float:
        """Return how long so many tokens take in a full engine; 0 where it cannot be told."""
        return self._in_seconds(tokens) or 0.0

    def _in_seconds(self, tokens: float) -> float | None:
        speed = self._speed.of(max(1, min(self.answers, self.seats)))
        return None if speed is None else self._bias * tokens / speed

    def _count(self, job: Job, sign: int) -> None:
        self._sums[job.priority] += sign * job.tokens
        self.answers += sign * job.answers
        if not self._jobs:
            # The end of a busy period: rounding ends here, too.
            self._sums = {"interactive": 0.0, "bulk": 0.0}
