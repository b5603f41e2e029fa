"""Run: read the text, ask the systems, score them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.console import note, progress
from adapters.errors import RequestInvalid
from adapters.ids import LanguagePair
from training.evaluate.neural import NeuralMetric
from training.evaluate.probes import ProbeResult, run_probes, texts_asked
from training.evaluate.probes.terms import read_term_list, term_accuracy
from training.evaluate.scoreboard import System
from training.evaluation.engine import Engine, system_of
from training.evaluation.held_out import HeldOut, Wanted
from training.evaluation.local import Local
from training.evaluation.neural_scores import NeuralScores
from training.evaluation.outputs import read_outputs
from training.evaluation.result import Result, scored

_BASE, _COPY = "base", "copy"


@dataclass(frozen=True)
class Further:
    """What else is measured: probes, neural metrics, and the terms of a tab-separated file."""

    probes: bool = False
    neural: tuple[NeuralMetric, ...] = ()
    terms: Path | None = None


@dataclass(frozen=True)
class Against:
    """What a system is compared with: `baseline` is base, copy or a file of translations.

    `outputs` are further files as rows. Without a baseline it is the first of them, else the copy.
    """

    baseline: str | None = None
    outputs: tuple[Path, ...] = ()

    @property
    def wants_base(self) -> bool:
        """Whether the base is to be asked, too."""
        return self.baseline == _BASE

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of translations, the baseline's first."""
        if self.baseline in {None, _BASE, _COPY}:
            return self.outputs
        return (Path(str(self.baseline)), *self.outputs)

    @property
    def place(self) -> int | None:
        """Where the baseline stands among the rows after the system itself; None for the copy."""
        return 1 if self.baseline != _COPY and (self.wants_base or self.files) else None


def run(
    engine: Engine, wanted: Wanted, pair: LanguagePair, against: Against, further: Further
) -> Result:
    """Return the figures of `engine` on the text that is wanted; what it does goes to stderr.

    Raises DataInvalid, RequestInvalid, SynthesisFailed, MetricFailed and what opening a model
    raises.
    """
    held_out = wanted.read(pair)
    # Files are read before a model is asked: an error in them is told at once.
    others = [read_outputs(path, held_out.test) for path in against.files]
    terms = read_term_list(further.terms, pair) if further.terms else None
    engines = [engine, *([_base_of(engine)] if against.wants_base else [])]
    note(f"{held_out.test}, {pair}")
    if held_out.left_out:
        note(f"{held_out.left_out} rows cannot be read and are left out")
    made = [_asked(one, held_out) for one in engines]
    note("scoring")
    board, name = scored(held_out, [*made, *others], baseline=against.place)
    neural = tuple(NeuralScores.of(metric, board) for metric in further.neural)
    probes = _probed(engine, pair) if further.probes else ()
    if terms is not None:
        rows = zip(held_out.test.sources, made[0].texts, strict=True)
        probes = (*probes, term_accuracy(rows, terms).result())
    return Result(board, name, held_out, engine.trained_on, probes, neural)


def _base_of(engine: Engine) -> Local:
    if not isinstance(engine, Local):
        raise RequestInvalid(
            "--baseline base is of --model and --adapter; evaluate the served base with --json, "
            "and name what that printed as --baseline"
        )
    return engine.without_adapter(_BASE)


def _asked(engine: Engine, held_out: HeldOut) -> System:
    test = held_out.test
    total = sum(bool(text.strip()) for text in test.sources)
    with progress(f"{engine.name}: translating", total=total) as advance:
        return system_of(engine, engine.answer(test.sources, test.pair, advance))


def _probed(engine: Engine, pair: LanguagePair) -> tuple[ProbeResult, ...]:
    with progress(f"{engine.name}: probes", total=texts_asked(pair)) as advance:

        def answers(texts: Sequence[str]) -> Sequence[str]:
            return engine.answer(texts, pair, advance).texts

        return run_probes(answers, pair)
