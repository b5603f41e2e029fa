from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from tests import fakes
from tests.training import tiny
from training.encode import IGNORED
from training.fit import label_loss
from training.fit.label_loss import can_score_labels_only, score_labels_only, summed_loss


def adapted(kind: str) -> Any:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    return get_peft_model(tiny.model(kind), config)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three rows padded on the right; the first eight or so positions are prompt."""
    torch.manual_seed(1)
    ids = torch.randint(5, fakes.VOCAB_SIZE, (3, 20))
    labels = ids.clone()
    mask = torch.ones_like(ids)
    for row, (prompt, length) in enumerate(((8, 20), (5, 14), (11, 13))):
        labels[row, :prompt] = IGNORED
        labels[row, length:] = IGNORED
        ids[row, length:] = fakes.PAD
        mask[row, length:] = 0
    return ids, labels, mask


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["gemma", "llama"])
def test_loss_and_gradients_equal_those_of_all_logits(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chunks of seven rows, so that several are needed and the last one is short.
    monkeypatch.setattr(label_loss, "_CHUNK_ELEMENTS", 7 * fakes.VOCAB_SIZE)
    ids, labels, mask = batch()
    model = adapted(kind)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1)
    expected = cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()

    score_labels_only(model.get_base_model())
    found = model(input_ids=ids, labels=labels, summed_loss=True)
    found.backward()

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients(model).keys() == wanted.keys()
    assert len(wanted) == 2 * 2 * 7
    for name, gradient in gradients(model).items():
        assert (gradient - wanted[name]).norm() <= 1e-3 * wanted[name].norm(), name


def test_bf16_gradients_stay_close_to_float32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 64), torch.randn(5000, 64) * 0.3
    labels = torch.randint(0, 5000, (40,))
    exact, rounded = hidden.clone().requires_grad_(), hidden.bfloat16().requires_grad_()
    cross_entropy(exact @ weight.T, labels, reduction="sum").backward()
    summed_loss(rounded, weight.bfloat16(), labels).backward()
    assert exact.grad is not None
    assert rounded.grad is not None
    assert (rounded.grad.float() - exact.grad).norm() < 0.02 * exact.grad.norm()


def test_the_loss_of_bf16_logits_is_as_good_as_the_logits() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(6, 64).bfloat16(), torch.randn(49_152, 64).bfloat16() * 0.3
    labels = torch.randint(0, 49_152, (6,))
    exact = cross_entropy((hidden @ weight.T).float(), labels, reduction="sum")
    found = summed_loss(hidden.requires_grad_(), weight, labels)
    assert abs(found.item() - exact.item()) < 1e-3 * exact.item()


def hidden_states(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return hidden states, head and labels that make a softmax of the named kind."""
    torch.manual_seed(0)
    weight, labels = torch.randn(4096, 64), torch.randint(0, 4096, (24,))
    if kind == "flat":
        return torch.randn(24, 64) * 0.01, weight, labels
    if kind == "sure":  # of most right words: what is left of the gradient is small
        return weight[labels] * 0.5 + torch.randn(24, 64) * 0.7, weight, labels
    return torch.randn(24, 64) * 0.9, weight, labels


@pytest.mark.parametrize(("kind", "fewer"), [("usual", True), ("sure", True), ("flat", False)])
def test_words_without_a_share_are_left_out_and_the_gradient_is_the_same(
    kind: str, fewer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # float32, with the share that bf16 leaves out: what it costs, without bf16's own rounding.
    monkeypatch.setattr(label_loss, "_LEFT_OUT", 2.0**-10 / torch.finfo(torch.float32).eps)
    widths = []
    above = label_loss._above

    def watched(mass_V: torch.Tensor, allowed: float) -> torch.Tensor:
        kept_V = above(mass_V, allowed)
        assert mass_V[~kept_V].sum() <= allowed * 1.001
        widths.append(int(kept_V.sum()) / len(mass_V))
        return kept_V

    monkeypatch.setattr(label_loss, "_above", watched)
    hidden, weight, labels = hidden_states(kind)
    exact, found = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    expected = cross_entropy(exact @ weight.T, labels, reduction="sum")
    expected.backward()
    loss = summed_loss(found, weight, labels)
    loss.backward()
    assert exact.grad is not None
    assert found.grad is not None
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert (found.grad - exact.grad).norm() <= 1e-3 * exact.grad.norm()
    assert [width < 1 / 3 for width in widths] == [fewer]


def test_no_labels_give_a_loss_of_zero_that_has_a_gradient() -> None:
    model = adapted("llama")
    score_labels_only(model.get_base_model())
    ids = torch.full((2, 6), 7)
    loss = model(input_ids=ids, labels=torch.full_like(ids, IGNORED), summed_loss=True)
    loss.backward()
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model).values())


def test_other_calls_still_get_the_models_own_forward() -> None:
    model = tiny.model("llama")
    ids = batch()[0]
    before = model(input_ids=ids).logits
    score_labels_only(model)
    torch.testing.assert_close(model(input_ids=ids).logits, before)


def test_heads_that_do_more_than_one_product_are_left_to_trl() -> None:
    plain, capped, trained = (tiny.model("gemma") for _ in range(3))
    for model in (plain, capped):
        model.requires_grad_(False)
    capped.config.final_logit_softcapping = 30.0
    assert can_score_labels_only(plain)
    assert not can_score_labels_only(capped)
    assert not can_score_labels_only(trained)
