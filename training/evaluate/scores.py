"""Evaluation: all figures of a candidate on one held-out test set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapters.manifest import Score
from training.evaluate.bootstrap import Comparison, compare_mean
from training.evaluate.fault import Fault
from training.evaluate.faults import Found, at_risk
from training.evaluate.memorised import memorised
from training.evaluate.metrics import Scored
from training.evaluate.scoreboard import Figure, Scoreboard, System, TestSet, score_systems
from training.task import Task

if TYPE_CHECKING:
    from training.likelihoods import Likelihoods


# How the systems are called on the board.
OWN: Final = "this adapter"
CURRENT: Final = "version in use"
BASE: Final = "base with examples"
BARE_BASE: Final = "base without examples"
START: Final = "start of training"
COPY: Final = "source copied"


@dataclass(frozen=True)
class Outputs:
    """What each system made of the same segments.

    `base` was shown examples, `zero_shot` is the base without; `current` is the version in use,
    `start` the adapter that training went on from.
    """

    sources: Sequence[str]
    references: Sequence[str]
    candidate: Sequence[str]
    base: Sequence[str]
    current: Sequence[str] | None = None
    zero_shot: Sequence[str] | None = None
    start: Sequence[str] | None = None


@dataclass(frozen=True)
class Further:
    """One more metric of the candidate, and of the base with and without examples."""

    metric: str
    value: float
    base: float
    zero_shot: float | None
    signature: str


@dataclass(frozen=True)
class Evaluation:
    """The candidate against the base with examples, copying the source, and the current version.

    `faults` are of its answers, `standard_faults` those of the version in use, or of the base
    where none is; `at_risk` says how many answers could have each; `memorised` is the share of
    answers that are a wrong target of training, word for word (0 to 1).
    """

    test_set: str
    segments: int
    bleu: Scored
    base_bleu: Scored
    chrf_signature: str
    over_base: Comparison
    over_copy: Comparison
    over_current: Comparison | None
    board: Scoreboard
    over_zero_shot: Comparison | None = None
    over_start: Comparison | None = None
    further: tuple[Further, ...] = ()
    faults: Found = ()
    standard_faults: Found = ()
    at_risk: Mapping[Fault, int] = field(default_factory=dict)
    memorised: float = 0.0
    likelihoods: Likelihoods | None = None

    @property
    def standard(self) -> str:
        """Whose faults `standard_faults` are."""
        return "the base" if self.over_current is None else "the version in use"

    def scores(self) -> tuple[Score, ...]:
        """Return what the manifest keeps."""
        versus = self.over_base
        return (
            Score(
                metric="chrF++",
                value=round(versus.value, 2),
                ci95=(round(versus.ci95[0], 2), round(versus.ci95[1], 2)),
                signature=self.chrf_signature,
                test_set=self.test_set,
                base_value=round(versus.other, 2),
                p_value=round(versus.p_value, 6),
            ),
            Score(
                metric="BLEU",
                value=round(self.bleu.value, 2),
                signature=self.bleu.signature,
                test_set=self.test_set,
                base_value=round(self.base_bleu.value, 2),
            ),
            *(
                Score(
                    metric=one.metric,
                    value=round(one.value, 2),
                    signature=one.signature,
                    test_set=self.test_set,
                    base_value=round(one.base, 2),
                )
                for one in self.further
            ),
        )


def mean_over_base(texts: Sequence[Outputs]) -> Comparison:
    """Return the candidate against the base with examples, on average over test sets."""
    return compare_mean([(o.candidate, o.base, o.references) for o in texts])


def score(
    outputs: Outputs,
    test: TestSet,
    *,
    task: Task = "translation",
    trained_on: Iterable[str] = (),
) -> Evaluation:
    """Return every figure; `trained_on` are the targets of the training part."""
    texts = {
        OWN: outputs.candidate,
        CURRENT: outputs.current,
        BASE: outputs.base,
        BARE_BASE: outputs.zero_shot,
        START: outputs.start,
        COPY: outputs.sources,
    }
    systems = [System(name, found) for name, found in texts.items() if found is not None]
    board = score_systems(test, systems, baseline=BASE, task=task)
    own, base = board.entry(OWN), board.entry(BASE)

    def over(other: str) -> Comparison | None:
        return board.compare(OWN, other) if texts[other] is not None else None

    learnt = memorised(outputs.candidate, outputs.references, trained_on)
    return Evaluation(
        test_set=str(test),
        segments=len(outputs.references),
        bleu=_scored(own.figure("BLEU")),
        base_bleu=_scored(base.figure("BLEU")),
        chrf_signature=own.figure("chrF++").signature,
        over_base=board.compare(OWN, BASE),
        over_copy=board.compare(OWN, COPY),
        over_current=over(CURRENT),
        over_start=over(START),
        over_zero_shot=over(BARE_BASE),
        further=tuple(_further(board, figure) for figure in own.figures[2:]),
        faults=own.faults,
        standard_faults=base.faults if outputs.current is None else board.entry(CURRENT).faults,
        at_risk=at_risk(outputs.sources, own.faults),
        memorised=sum(learnt) / max(1, len(learnt)),
        board=board,
    )


def _scored(figure: Figure) -> Scored:
    return Scored(figure.value, figure.signature)


def _further(board: Scoreboard, own: Figure) -> Further:
    bare = [entry for entry in board.entries if entry.system.name == BARE_BASE]
    return Further(
        metric=own.metric,
        value=own.value,
        base=board.entry(BASE).figure(own.metric).value,
        zero_shot=bare[0].figure(own.metric).value if bare else None,
        signature=own.signature,
    )
