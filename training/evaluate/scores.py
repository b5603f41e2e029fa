"""Evaluation: all figures of a candidate on one held-out test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapters.ids import LanguagePair
from adapters.manifest import Score
from training.evaluate.bootstrap import Comparison, compare, compare_mean
from training.evaluate.faults import Answered, Faults, count, faults_of
from training.evaluate.memorised import memorised
from training.evaluate.metrics import Scored, bleu, chrf
from training.evaluate.rouge import rouge
from training.task import Task

if TYPE_CHECKING:
    from training.likelihoods import Likelihoods

NO_FAULTS: Final = Faults(0, {})


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

    `standard_faults` are those of the version in use, or of the base where none is; `memorised` is
    the share of answers that are a wrong target of training, word for word (0 to 1).
    """

    test_set: str
    segments: int
    bleu: Scored
    base_bleu: Scored
    chrf_signature: str
    over_base: Comparison
    over_copy: Comparison
    over_current: Comparison | None
    over_zero_shot: Comparison | None = None
    over_start: Comparison | None = None
    further: tuple[Further, ...] = ()
    faults: Faults = NO_FAULTS
    standard_faults: Faults = NO_FAULTS
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
    *,
    pair: LanguagePair,
    test_set: str,
    task: Task = "translation",
    trained_on: Iterable[str] = (),
) -> Evaluation:
    """Return every figure; `trained_on` are the targets of the training part."""
    references, candidate, language = outputs.references, outputs.candidate, pair.target

    def against(other: Sequence[str]) -> Comparison:
        return compare(candidate, other, references)

    def faults(texts: Sequence[str]) -> Faults:
        rows = zip(outputs.sources, references, texts, strict=True)
        return count(faults_of([Answered(*row) for row in rows], pair))

    learnt = memorised(candidate, references, trained_on)

    return Evaluation(
        test_set=test_set,
        segments=len(references),
        bleu=bleu(candidate, references, language=language),
        base_bleu=bleu(outputs.base, references, language=language),
        chrf_signature=chrf(candidate, references).signature,
        over_base=against(outputs.base),
        over_copy=against(outputs.sources),
        over_current=against(outputs.current) if outputs.current is not None else None,
        over_start=against(outputs.start) if outputs.start is not None else None,
        over_zero_shot=against(outputs.zero_shot) if outputs.zero_shot is not None else None,
        further=_rouge(outputs) if task == "summarization" else (),
        faults=faults(candidate),
        standard_faults=faults(outputs.current if outputs.current is not None else outputs.base),
        memorised=sum(learnt) / max(1, len(learnt)),
    )


def _rouge(outputs: Outputs) -> tuple[Further, ...]:
    references, bare = outputs.references, outputs.zero_shot
    own, base = rouge(outputs.candidate, references), rouge(outputs.base, references)
    zero_shot = rouge(bare, references) if bare is not None else None
    return tuple(
        Further(
            metric=name,
            value=scored.value,
            base=base[name].value,
            zero_shot=zero_shot[name].value if zero_shot else None,
            signature=scored.signature,
        )
        for name, scored in own.items()
    )
