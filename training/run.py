"""Run: what every phase of a run is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapters.base_model import BaseModelRef
from training.fit import ranks
from training.fit.result import OnProgress
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.run_log import RunLog
from training.seq2seq.family import Family


@dataclass(frozen=True)
class Options:
    """How a run goes on and what becomes of its adapter."""

    out: Path | None = None
    resume: bool = False
    publish: bool = False
    force: bool = False
    allow_memory: bool = False
    fit_only: bool = False  # a later session measures it
    on_step: OnProgress | None = None  # told of each step of the fit


@dataclass(frozen=True)
class Run:
    """A recipe with its base and folder; `start` is the adapter to go on from, if any."""

    recipe: Recipe
    base: Path
    reference: BaseModelRef
    folder: RunFolder
    options: Options
    start: Path | None = None
    family: Family | None = None  # None: a causal base

    @property
    def log(self) -> RunLog:
        """What the run says; of several processes, the first one speaks."""
        return RunLog(self.folder.root if ranks.rank() == 0 else None)
