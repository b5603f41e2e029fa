"""Judge: which translations of an engine teach something wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from training.clean.report import CleanReport
from training.corpus.segment import Segment
from training.synthesis.translator import Answer

IMPROBABLE: Final = "improbable"
# The rules of a recipe's cleaning: the name of the first that a pair breaks, or None.
Broken = Callable[[Segment], str | None]


@dataclass
class Judge:
    """What is kept, and what was dropped by which rule.

    Answers without a translation go first, then those whose tokens the engine itself found too
    improbable (`min_logprob`, natural logarithm, mean over tokens), then come the recipe's rules.
    """

    broken: Broken
    min_logprob: float | None = None
    without_logprob: int = 0
    report: CleanReport = field(default_factory=CleanReport)

    def keeps(self, segment: Segment, answer: Answer) -> bool:
        """Return whether the pair stays, and count it."""
        rule = self._rule(segment, answer)
        if rule is None:
            self.report.keep(1)
        else:
            self.report.drop(rule, segment)
        return rule is None

    def _rule(self, segment: Segment, answer: Answer) -> str | None:
        if answer.fault is not None:
            return answer.fault.value
        if answer.mean_logprob is None:
            self.without_logprob += 1
        elif self.min_logprob is not None and answer.mean_logprob < self.min_logprob:
            return IMPROBABLE
        return self.broken(segment)
