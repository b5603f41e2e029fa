"""The fit of sequence-to-sequence bases: rows of two sides, loss per target token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler

from training.encode import IGNORED
from training.fit.batches import LengthGrouped
from training.fit.checkpointed import Checkpointed
from training.methods.attach import Adapted
from training.seq2seq.encode import EncodedPair

Rows = Sequence[EncodedPair]


class PairTrainer(Checkpointed):
    """transformers' trainer with exact means over target tokens, and batches of like length."""

    def __init__(self, *, adapted: Adapted, tokens_per_pass: int, **kwargs: Any) -> None:
        super().__init__(adapted=adapted, **kwargs)
        self._tokens_per_pass = tokens_per_pass
        # Or the mean of gradients over accumulated batches would be taken, not that of tokens.
        self.model_accepts_loss_kwargs = True

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Run a batch in passes of bounded size; the gradients add up to those of one pass."""
        count = num_items_in_batch
        count = _label_count(inputs["labels"]) if count is None else count
        loss = torch.zeros((), device=self.args.device)
        for part in self._passes(inputs):
            loss += super().training_step(model, part, count)
        return self._count_loss(loss)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of the optimizer step's target tokens."""
        labels_BT = inputs["labels"]
        output = model(**{name: value for name, value in inputs.items() if name != "labels"})
        wanted_BT = labels_BT != IGNORED
        # float32: a bf16 sum over a vocabulary of 250,000 has no digits left.
        logits_NV = output.logits[wanted_BT].float()
        total = cross_entropy(logits_NV, labels_BT[wanted_BT], reduction="sum")
        count = _label_count(labels_BT) if num_items_in_batch is None else num_items_in_batch
        loss = total / max(int(count), 1)
        return (loss, output) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss per target token; the inherited one averages over batches instead."""
        model = self.adapted.model.eval()
        total, tokens = 0.0, 0
        for batch in self.get_eval_dataloader(eval_dataset):
            tokens += _label_count(batch["labels"])
            for part in self._passes(batch):
                inputs = self._prepare_inputs(part)
                with torch.inference_mode(), self.compute_loss_context_manager():
                    total += float(self.compute_loss(model, inputs, num_items_in_batch=1))
        model.train()
        metrics = {f"{metric_key_prefix}_loss": total / max(tokens, 1)}
        self.log(metrics)
        handler: Any = self.callback_handler  # clears should_evaluate
        self.control = handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _passes(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        height = len(inputs["input_ids"])
        width = inputs["input_ids"].shape[1] + inputs["labels"].shape[1]
        rows = max(1, self._tokens_per_pass // width)
        for start in range(0, height, rows):
            yield {name: value[start : start + rows] for name, value in inputs.items()}

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        tokens = int(inputs["attention_mask"].sum()) + _label_count(inputs["labels"])
        self.state.num_input_tokens_seen += tokens

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(row) for row in dataset]
        size, seed = self.args.train_batch_size, self.args.seed
        return LengthGrouped(lengths, size, seed=seed, stages=self.stages)


class PairCollator:
    """Makes a batch of rows: both sides padded on the right, the decoder's input shifted by one."""

    def __init__(self, config: Any) -> None:
        self._pad = int(config.pad_token_id)
        start = config.decoder_start_token_id
        self._start = int(self._pad if start is None else start)

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """Return input_ids, attention_mask, decoder_input_ids and labels of `rows`."""
        sources = [list(row.source_ids) for row in rows]
        targets = [list(row.target_ids) for row in rows]
        return {
            "input_ids": _padded(sources, self._pad),
            "attention_mask": _padded([[1] * len(source) for source in sources], 0),
            "decoder_input_ids": _padded([[self._start, *t[:-1]] for t in targets], self._pad),
            "labels": _padded(targets, IGNORED),
        }


def calibrate(model: torch.nn.Module, rows: Rows, config: Any) -> None:
    """Run `rows` through `model` one by one, as CorDA's measurement expects."""
    collate = PairCollator(config)
    device = next(model.parameters()).device
    with torch.no_grad():
        for row in rows:
            batch = {name: value.to(device) for name, value in collate([row]).items()}
            model(**{name: value for name, value in batch.items() if name != "labels"})


def _padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def _label_count(labels_BT: Tensor) -> int:
    return int((labels_BT != IGNORED).sum())
