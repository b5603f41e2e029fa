"""One synthesis: real texts, through an engine and a judge, into a file of pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.console import progress
from adapters.errors import SynthesisFailed
from training.corpus.segment import Segment, write_jsonl
from training.synthesis.cost import Cost, Price
from training.synthesis.direction import Direction
from training.synthesis.journal import Journal, journal_of
from training.synthesis.judge import Judge
from training.synthesis.translator import Answer, Fault, Job, Translator

_UNANSWERED = Answer("", requests=0, fault=Fault.UNANSWERED)


@dataclass(frozen=True)
class Plan:
    """What is made of which texts; `samples` translations are asked for each."""

    originals: Sequence[Segment]
    direction: Direction
    out: Path
    samples: int = 1

    def jobs(self) -> Iterator[tuple[Segment, Job]]:
        """Yield every text as often as it is asked, with where it came from."""
        for original in self.originals:
            for sample in range(self.samples):
                yield original, Job(self.direction.text_of(original), sample)


@dataclass
class Outcome:
    """What came of it: `cost` is of this run, `cost_before` of the answers the journal had."""

    plan: Plan
    judge: Judge
    cost: Cost = field(default_factory=Cost)
    cost_before: Cost = field(default_factory=Cost)
    # Those that were not kept in the journal, so that a later run asks again.
    faults: dict[Job, Answer] = field(default_factory=dict)

    def to_json(self, price: Price | None = None) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "out": str(self.plan.out),
            "pair": str(self.plan.direction.pair),
            "real": "target" if self.plan.direction.back else "source",
            "texts": len(self.plan.originals),
            "samples_per_text": self.plan.samples,
            "clean": self.judge.report.to_json(),
            "without_logprob": self.judge.without_logprob,
            "cost": self.cost.to_json(price),
            "cost_before": self.cost_before.to_json(price),
        }


def synthesize(
    plan: Plan, translator: Translator, judge: Judge, *, say: Callable[[str], None]
) -> Outcome:
    """Ask for what the journal beside `plan.out` has not, then write all of it.

    Raises SynthesisFailed, DataInvalid; answers that came before are in the journal in any case,
    also after a KeyboardInterrupt. The file appears whole or not at all.
    """
    outcome = Outcome(plan, judge)
    with Journal(journal_of(plan.out), translator.identity) as journal:
        _say_what_is_there(journal, say)
        missing = []
        for _, job in plan.jobs():
            if (answer := journal.get(job)) is None:
                missing.append(job)
            else:
                outcome.cost_before.add(job, answer)
        _ask(missing, translator, journal, outcome)
        write_jsonl(_judged(outcome, journal), plan.out)
    return outcome


def _say_what_is_there(journal: Journal, say: Callable[[str], None]) -> None:
    if len(journal):
        say(f"{journal.path} has {len(journal)} answers already: going on")
    elif journal.others:
        say(
            f"{journal.path} has {journal.others} answers of another engine, model or prompt: "
            "they are kept and not used, all texts are asked anew"
        )


def _ask(jobs: list[Job], translator: Translator, journal: Journal, outcome: Outcome) -> None:
    began = time.monotonic()
    shown = progress("translate", total=len(jobs))
    with shown as advance, closing(translator.translate(jobs)) as answers:
        for job, answer in answers:
            journal.add(job, answer)
            if job not in journal:
                outcome.faults[job] = answer
            outcome.cost.add(job, answer)
            outcome.cost.seconds = time.monotonic() - began
            advance(1)


def _judged(outcome: Outcome, journal: Journal) -> Iterator[Segment]:
    """Yield the pairs that are kept, in the order of their texts. Raises SynthesisFailed."""
    plan, judge = outcome.plan, outcome.judge
    for original, job in plan.jobs():
        answer = journal.get(job) or outcome.faults.get(job, _UNANSWERED)
        segment = plan.direction.made(original, answer.text)
        if judge.keeps(segment, answer):
            yield segment
    if not judge.report.kept:  # here, so that no empty file takes the place of an older one
        raise SynthesisFailed(
            f"{plan.out}: none of {len(plan.originals)} texts gave a pair that was kept "
            f"({judge.report.dropped}); look at the answers in {journal.path}"
        )
