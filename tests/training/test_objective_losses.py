"""Losses of preferences against TRL's own trainers, and the divergence against plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig
from trl.experimental.cpo import CPOConfig, CPOTrainer

from tests import fakes
from tests.training import tiny
from training.encode import Encoded
from training.fit.guard import Guard
from training.methods.attach import Adapted, attach
from training.methods.config import LoraMethod
from training.objective import Cpo, Dpo, PreferenceObjective, Sft
from training.objectives import divergence, log_probabilities
from training.objectives.encoded_preference import EncodedPreference
from training.objectives.preference_batch import PreferenceCollator
from training.objectives.trainer_for import trainer_for

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

PAIRS = [
    EncodedPreference(Encoded((2, 9, 8, 7), (20, 21, 4)), Encoded((2, 9, 8, 7), (30, 4))),
    EncodedPreference(Encoded((2, 9), (22, 23, 24, 4)), Encoded((2, 9), (31, 32, 33, 34, 35, 4))),
    EncodedPreference(Encoded((2, 5, 6), (25, 4)), Encoded((2, 5, 6), (26, 4))),
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Three rows a chunk, so that several are needed and the last one is short.
    for module in (log_probabilities, divergence):
        monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 3 * fakes.VOCAB_SIZE)


def adapted(kind: str = "gemma", *, seed: int = 0) -> Adapted:
    """Return a tiny model whose LoRA already changes what it says."""
    built = attach(tiny.model(kind), LoraMethod(rank=4))
    torch.manual_seed(seed)
    for name, parameter in built.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return built


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=fakes.tokenizer(), pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def ours(objective: PreferenceObjective, built: Adapted, out: Path, **options: Any) -> Any:
    args = SFTConfig(
        output_dir=str(out), use_cpu=True, bf16=False, max_length=None, report_to="none",
        per_device_train_batch_size=3, gradient_checkpointing=False, disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    options = {"tokens_per_pass": 64, "guard": Guard(print, advice=""), **options}
    return trainer_for(
        objective, PAIRS, PAIRS, pad=fakes.PAD, adapted=built, args=args,
        processing_class=tokenizer(), **options,
    )  # fmt: skip


def batch_of(trainer: Any) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = PreferenceCollator(fakes.PAD)(list(trainer.train_dataset))
    return batch


def gradients(built: Adapted) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in built.trainable().items() if p.grad is not None}
    built.model.zero_grad()
    return found


def assert_equal(
    one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]
) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    largest = max(float(g.abs().max()) for g in other[1].values())
    assert largest > 1e-4
    assert one[1].keys() == other[1].keys()
    for name, gradient in other[1].items():
        torch.testing.assert_close(one[1][name], gradient, rtol=1e-3, atol=1e-4 * largest)


class _IdsDpo(DPOTrainer):
    """TRL's trainer on rows that are ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def _dpo_of_trl(nll_weight: float, out: Path) -> tuple[float, dict[str, torch.Tensor]]:
    built = adapted()
    rows = {
        "prompt_ids": [p.chosen.prompt_ids for p in PAIRS],
        "chosen_ids": [p.chosen.target_ids for p in PAIRS],
        "rejected_ids": [p.rejected.target_ids for p in PAIRS],
    }
    trainer: Any = _IdsDpo(
        model=built.model, processing_class=tokenizer(), train_dataset=Dataset.from_dict(rows),
        args=DPOConfig(
            output_dir=str(out), use_cpu=True, bf16=False, beta=0.3, report_to="none",
            loss_type=["sigmoid", "sft"], loss_weights=[1.0, nll_weight],
            gradient_checkpointing=False, max_length=None,
        ),
    )  # fmt: skip
    # The reference is a copy of the adapter; train from elsewhere, so that margins are not zero.
    moved = adapted(seed=1).trainable()
    for name, parameter in built.trainable().items():
        parameter.data.copy_(moved[name].data)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(list(trainer.train_dataset)))
    loss.backward()
    return loss.item(), gradients(built)


@pytest.mark.parametrize("nll_weight", [0.0, 0.7])
def test_dpo_is_that_of_trl_in_loss_and_gradients(nll_weight: float, tmp_path: Path) -> None:
    built = adapted()
    trainer = ours(Dpo(kind="dpo", beta=0.3, nll_weight=nll_weight), built, tmp_path)
    moved = adapted(seed=1).trainable()
    for name, parameter in built.trainable().items():
        parameter.data.copy_(moved[name].data)
    loss = trainer.compute_loss(built.model, batch_of(trainer))
    loss.backward()
    assert_equal((loss.item(), gradients(built)), _dpo_of_trl(nll_weight, tmp_path))


class _IdsCpo(CPOTrainer):
    """TRL's trainer on rows that are ids already."""

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        pair = PAIRS[int(feature["prompt"])]
        row: dict[str, Any] = {"prompt_input_ids": list(pair.chosen.prompt_ids)}
        for side, ids in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            row |= {
                f"{side}_input_ids": ids.input_ids,
                f"{side}_labels": ids.labels,
                f"{side}_attention_mask": [1] * len(ids),
            }
        return row


def _cpo_of_trl(out: Path) -> tuple[float, dict[str, torch.Tensor]]:
    built = adapted()
    texts = {"prompt": ["0", "1", "2"], "chosen": ["a"] * 3, "rejected": ["b"] * 3}
    trainer: Any = _IdsCpo(
        model=built.model, processing_class=tokenizer(), train_dataset=Dataset.from_dict(texts),
        args=CPOConfig(
            output_dir=str(out), use_cpu=True, bf16=False, beta=0.3, cpo_alpha=0.7,
            report_to="none", gradient_checkpointing=False, max_length=64,
        ),
    )  # fmt: skip
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(3)])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), gradients(built)


def test_cpo_is_that_of_trl_in_loss_and_gradients(tmp_path: Path) -> None:
    built = adapted()
    trainer = ours(Cpo(kind="cpo", beta=0.3, nll_weight=0.7), built, tmp_path)
    loss = trainer.compute_loss(built.model, batch_of(trainer))
    loss.backward()
    assert_equal((loss.item(), gradients(built)), _cpo_of_trl(tmp_path))


def test_passes_of_one_pair_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    objective = Dpo(kind="dpo", nll_weight=0.5)
    found = []
    for tokens_per_pass in (64, 1):
        built = adapted()
        trainer = ours(objective, built, tmp_path, tokens_per_pass=tokens_per_pass)
        loss = trainer.training_step(built.model, batch_of(trainer))
        found.append((loss.item(), gradients(built)))
    assert_equal(found[1], found[0])


def test_the_reference_is_where_training_starts(tmp_path: Path) -> None:
    trainer = ours(Dpo(kind="dpo"), adapted(), tmp_path)
    measured = trainer.evaluate()
    assert measured["eval_rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert measured["eval_loss"] == pytest.approx(0.6931, abs=1e-3)


def test_divergence_from_the_base_is_that_of_plain_torch(tmp_path: Path) -> None:
    built = adapted()
    ids = torch.tensor([p.chosen.input_ids[:5] for p in PAIRS])
    labels = ids.clone()
    labels[:, :2] = -100
    logps = torch.log_softmax(built.model(input_ids=ids).logits[:, 1:-1], -1)
    with torch.no_grad(), built.model.disable_adapter():  # type: ignore[operator]
        base = torch.log_softmax(built.model(input_ids=ids).logits[:, 1:-1], -1)
    kl = (base.exp() * (base - logps)).sum(-1)
    loss = (-logps.gather(2, ids[:, 2:, None])[..., 0] + 0.4 * kl).mean()
    loss.backward()
    expected = (loss.item(), gradients(built))
    assert kl.mean().item() > 1e-3

    trainer = trainer_for(
        Sft(kl_to_base=0.4), [p.chosen for p in PAIRS], [], pad=0, adapted=built,
        args=SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True}, gradient_checkpointing=False,
        ),
        processing_class=tokenizer(), tokens_per_pass=64, guard=Guard(print, advice=""),
    )  # fmt: skip
    built.model.train()
    found = trainer.compute_loss(built.model, {"input_ids": ids, "labels": labels})
    found.backward()
    assert_equal((found.item(), gradients(built)), expected)
    assert trainer._metrics["train"]["kl_to_base"] == [pytest.approx(kl.mean().item(), rel=1e-4)]
