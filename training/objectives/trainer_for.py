"""The trainer that an objective asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from training.encode import Encoded
from training.fit.trainer import LabelTrainer
from training.objective import Objective, PreferenceObjective, Sft
from training.objectives.encoded_preference import EncodedPreference
from training.objectives.preference_batch import PreferenceCollator, dataset_of
from training.objectives.preference_trainer import PreferenceTrainer
from training.objectives.regularised_trainer import RegularisedTrainer

Rows = Sequence[Encoded] | Sequence[EncodedPreference]


def trainer_for(
    objective: Objective, train: Rows, dev: Rows, *, pad: int, **options: Any
) -> LabelTrainer:
    """Return the trainer of these rows; `options` are those of every LabelTrainer."""
    if isinstance(objective, PreferenceObjective):
        return PreferenceTrainer(
            objective=objective,
            data_collator=PreferenceCollator(pad),
            train_dataset=dataset_of(_preferences(train)),
            eval_dataset=dataset_of(_preferences(dev)) if dev else None,
            **options,
        )
    options |= {
        "data_collator": DataCollatorForLanguageModeling(pad_token_id=pad),
        "train_dataset": _dataset(_rows(train)),
        "eval_dataset": _dataset(_rows(dev)) if dev else None,
    }
    if isinstance(objective, Sft) and objective.kl_to_base:
        return RegularisedTrainer(kl_to_base=objective.kl_to_base, **options)
    return LabelTrainer(**options)


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
    )


def _rows(rows: Rows) -> list[Encoded]:
    found = [row for row in rows if isinstance(row, Encoded)]
    if len(found) < len(rows):
        raise TypeError("expected rows of one translation, found preferences")
    return found


def _preferences(rows: Rows) -> list[EncodedPreference]:
    found = [row for row in rows if isinstance(row, EncodedPreference)]
    if len(found) < len(rows):
        raise TypeError("expected preferences, found rows of one translation")
    return found
