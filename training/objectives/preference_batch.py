"""Batches of preferences: each pair's two rows side by side, and what each row's loss counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from training.encode import IGNORED
from training.objectives.encoded_preference import EncodedPreference

REFERENCE: Final = ("reference_chosen", "reference_rejected")
COLUMNS: Final = ("input_ids", "labels", "rejected_ids", "rejected_labels", *REFERENCE)


def dataset_of(pairs: Sequence[EncodedPreference]) -> Dataset:
    """Return the rows as TRL's SFT trainer takes them, with the rejected in columns of their own.

    The reference log-probabilities begin at zero: with these, DPO is CPO.
    """
    return Dataset.from_dict(
        {
            "input_ids": [p.chosen.input_ids for p in pairs],
            "labels": [p.chosen.labels for p in pairs],
            "rejected_ids": [p.rejected.input_ids for p in pairs],
            "rejected_labels": [p.rejected.labels for p in pairs],
            **{name: [0.0] * len(pairs) for name in REFERENCE},
        }
    )


@dataclass(frozen=True)
class PreferenceCollator:
    """Dataset rows of P pairs in, tensors of 2P rows out, chosen and rejected in turn.

    `share` is what a row's pair counts in the batch's mean over pairs, `token_share` what each of
    its tokens counts in the mean over the chosen ones: sums over parts of a batch add up.
    """

    pad_token_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the batch."""
        rows: list[dict[str, Any]] = []
        for example in examples:
            rows.append({"input_ids": example["input_ids"], "labels": example["labels"]})
            rejected = {"input_ids": example["rejected_ids"], "labels": example["rejected_labels"]}
            rows.append(rejected)
        batch: dict[str, Tensor] = DataCollatorForLanguageModeling(self.pad_token_id)(rows)
        references = [example[name] for example in examples for name in REFERENCE]
        chosen_tokens = int((batch["labels"][0::2, 1:] != IGNORED).sum())
        token_share = torch.zeros(len(rows))
        token_share[0::2] = 1 / max(chosen_tokens, 1)
        return {
            **batch,
            "reference": torch.tensor(references),
            "share": torch.full((len(rows),), 1 / len(examples)),
            "token_share": token_share,
        }
