"""Setup: what a fit is of, and the trainer that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from adapters.base_model import read_config
from training.encode import Encoded
from training.fit import ranks
from training.fit.arguments import arguments_of
from training.fit.guard import Guard
from training.fit.numerics import Numerics, numerics_of
from training.fit.schedule import Schedule
from training.fit.trainer import LabelTrainer
from training.methods.attach import attach, load_base
from training.methods.config import Method
from training.methods.rates import learning_rate_of
from training.methods.start import load_start
from training.objective import Objective
from training.objectives.encoded_preference import EncodedPreference
from training.objectives.trainer_for import trainer_for
from training.run_log import RunLog
from training.seq2seq.family import family_of

if TYPE_CHECKING:
    from training.seq2seq.trainer import PairTrainer

# CorDA's covariances settle with a few thousand tokens on models of this size.
_CALIBRATION_ROWS: Final = 256
_DTYPE_KEYS: Final = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class Setup:
    """A base, what is trained on it and how, and where it is kept."""

    base: Path
    method: Method
    schedule: Schedule
    out: Path
    seed: int
    objective: Objective
    start: Path | None
    log: RunLog

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints and snapshots are."""
        return self.out / "checkpoints"

    def trainer(self, train: Any, dev: Any) -> LabelTrainer | PairTrainer:
        """Return what trains on rows of the base's kind."""
        if family_of(self.base) is None:
            return self._causal(train, dev)
        return self._pairs(train, dev)

    def _causal(self, train: Any, dev: Any) -> LabelTrainer:
        numerics = self._numerics()
        model = load_base(self.base, self.method, dtype=numerics.dtype)
        pad = model.config.get_text_config().pad_token_id
        torch.manual_seed(self.seed)  # what is attached begins at random
        adapted = attach(
            model,
            self.method,
            steps=self.schedule.steps(len(train)),
            calibrate=lambda body: _calibrate(body, train),
        )
        if self.start is not None:
            load_start(adapted, self.start)
        return trainer_for(
            self.objective,
            _shared(train),
            sorted(dev, key=len),
            pad=0 if pad is None else pad,
            adapted=adapted,
            # TRL asks for a tokenizer; the rows are ids already, and Gemma's takes 0.15 GB.
            processing_class=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel())),
            **self._options(numerics, evaluate=bool(dev)),
        )

    def _pairs(self, train: Any, dev: Any) -> PairTrainer:
        from training.seq2seq.load import load_pair_model
        from training.seq2seq.trainer import PairCollator, PairTrainer, calibrate

        model = load_pair_model(self.base, self.method)
        torch.manual_seed(self.seed)
        adapted = attach(
            model,
            self.method,
            steps=self.schedule.steps(len(train)),
            calibrate=lambda body: calibrate(body, train[:_CALIBRATION_ROWS], model.config),
            task="SEQ_2_SEQ_LM",
        )
        return PairTrainer(
            adapted=adapted,
            data_collator=PairCollator(model.config),
            train_dataset=train,
            eval_dataset=sorted(dev, key=len) if dev else None,
            **self._options(self._numerics(), evaluate=bool(dev)),
        )

    def _options(self, numerics: Numerics, *, evaluate: bool) -> dict[str, Any]:
        schedule = self.schedule
        rate = schedule.learning_rate or learning_rate_of(self.method)
        advice = (
            f"lower schedule.learning_rate, found {rate:g}; "
            f"the last good checkpoint is kept in {self.checkpoints}"
        )
        args = arguments_of(
            schedule,
            self.checkpoints,
            method=self.method,
            numerics=numerics,
            seed=self.seed,
            eval_strategy="steps" if evaluate else "no",
        )
        return {
            "args": args,
            "tokens_per_pass": schedule.tokens_per_pass,
            "guard": Guard(self.log.note, advice=advice),
        }

    def _numerics(self) -> Numerics:
        config = read_config(self.base)
        said = (c.get(k) for c in (config, config.get("text_config") or {}) for k in _DTYPE_KEYS)
        own = next(filter(None, said), "float32")
        return numerics_of(self.schedule, own, gpu=torch.cuda.is_available(), say=self.log.note)


def plain(rows: Any) -> list[Encoded]:
    """Return what a causal model can be asked; nothing for sequence-to-sequence ones."""
    chosen = (row.chosen if isinstance(row, EncodedPreference) else row for row in rows)
    return [row for row in chosen if isinstance(row, Encoded)]


def _calibrate(model: torch.nn.Module, train: Any) -> None:
    with torch.no_grad():
        for row in plain(train[:_CALIBRATION_ROWS]):  # one by one: PEFT's hooks expect it
            model(input_ids=torch.tensor([row.input_ids], device=next(model.parameters()).device))


def _shared(train: Sequence[Any]) -> Sequence[Any]:
    # The last batch may have no row for a process: it gets this one, which has no label.
    return train if ranks.count() == 1 else [*train, Encoded(tuple(train[0].input_ids[:2]), ())]
