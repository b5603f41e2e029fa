"""One flat row of all rows must train exactly as a padded batch does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from tests import fakes
from tests.training import tiny
from training.encode import IGNORED
from training.fit import packed_rows
from training.fit.label_loss import score_labels_only
from training.fit.packed_rows import MODEL_TYPES, PackedRows, can_pack

pytestmark = pytest.mark.train

Rows = tuple[tuple[int, int], ...]
# (prompt, all) of each row, in tokens
ROWS: Rows = ((8, 20), (7, 14), (11, 13), (9, 10))


def batch(rows: Rows = ROWS, *, shared: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, labels and mask of rows that begin with the same `shared` ids."""
    torch.manual_seed(1)
    ids = torch.randint(5, fakes.VOCAB_SIZE, (len(rows), max(length for _, length in rows)))
    ids[:, :shared] = ids[0, :shared]
    if len(rows) > 1:
        ids[0, shared] = (ids[1, shared] + 1) % fakes.VOCAB_SIZE
    labels, mask = ids.clone(), torch.ones_like(ids)
    for row, (prompt, length) in enumerate(rows):
        labels[row, :prompt] = labels[row, length:] = IGNORED
        ids[row, length:] = fakes.PAD
        mask[row, length:] = 0
    return ids, labels, mask


def adapted(kind: str) -> Any:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    return get_peft_model(tiny.model(kind), config)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def trained_both_ways(kind: str, rows: Rows, *, shared: int, checkpointing: bool) -> None:
    """Fail where the packed batch gives another loss or gradient than the padded one."""
    model = adapted(kind)
    ids, labels, mask = batch(rows, shared=shared)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1)
    expected = cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()

    assert can_pack(model.get_base_model())
    score_labels_only(model.get_base_model())
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    found = model(input_ids=ids, labels=labels, summed_loss=True)
    found.backward()

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients(model).keys() == wanted.keys()
    for name, gradient in gradients(model).items():
        assert (gradient - wanted[name]).norm() <= 1e-4 * wanted[name].norm() + 1e-6, name


@pytest.mark.parametrize(
    ("rows", "shared"), [(ROWS, 6), (ROWS, 0), (ROWS[:1], 0), (((3, 5), (3, 5)), 2)]
)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_loss_and_gradients_are_those_of_the_padded_batch(
    kind: str, rows: Rows, shared: int
) -> None:
    trained_both_ways(kind, rows, shared=shared, checkpointing=False)


def test_so_they_are_where_rows_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "_LONG", 0)
    for kind in ("gemma", "llama"):
        trained_both_ways(kind, ROWS, shared=6, checkpointing=False)


def test_so_they_are_where_activations_are_computed_again() -> None:
    trained_both_ways("gemma", ROWS, shared=6, checkpointing=True)


def test_every_model_that_is_packed_is_tested() -> None:
    assert {tiny.model(kind).config.model_type for kind in tiny.KINDS} == MODEL_TYPES


def test_what_is_shared_is_computed_once_and_padding_never() -> None:
    ids, labels, _ = batch(shared=6)
    rows = PackedRows.of(ids, labels)
    assert rows.shared == 5  # position 5 of the second row predicts nothing, position 6 a label
    # The last token of a row predicts nothing, so it is no input.
    assert len(rows.input_ids) == 5 + sum(length - 1 - 5 for _, length in ROWS)
    assert int((rows.next_labels != IGNORED).sum()) == sum(end - start for start, end in ROWS)
    assert rows.positions[:5].tolist() == [0, 1, 2, 3, 4]


def test_a_row_without_labels_adds_nothing() -> None:
    model = adapted("llama")
    score_labels_only(model.get_base_model())
    ids, labels, _ = batch(shared=4)
    alone = model(input_ids=ids[:3], labels=labels[:3], summed_loss=True)
    labels[3] = IGNORED
    torch.testing.assert_close(model(input_ids=ids, labels=labels, summed_loss=True), alone)


def test_models_that_attend_in_ways_of_their_own_keep_their_padding() -> None:
    model = tiny.model("llama")
    assert can_pack(model)
    model.set_attn_implementation("eager")
    assert not can_pack(model)
    model = tiny.model("llama")
    model.config.model_type = "gpt_oss"
    assert not can_pack(model)
