from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from training.evaluate.label_perplexity import label_logprobs, label_perplexity

ROWS = [((1, 2), (7, 8, 9)), ((1,), (7,)), ((1, 2, 3, 4, 5), (8, 9)), ((1,), ())]


@dataclass
class FakeGenerator:
    """Finds every token `id` times as unlikely as e; an adapter halves that."""

    asked: list[tuple[list[int], str | None, int]] = field(default_factory=list)

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        adapter: str | None = None,
        batch_size: int = 1,
    ) -> list[float]:
        assert len(prompts) == len(targets) == batch_size
        self.asked.append(([len(t) for t in targets], adapter, batch_size))
        return [-float(sum(target)) / (2 if adapter else 1) for target in targets]


def test_the_mean_is_over_label_tokens_whatever_the_prompts_are() -> None:
    found = label_perplexity(FakeGenerator(), ROWS, adapter=None)
    # 7+8+9, 7 and 8+9 nats over three, one and two tokens: prompts and rows count for nothing.
    assert found.value == pytest.approx(math.exp((24 + 7 + 17) / 6))
    assert found.tokens == 6
    assert found.signature == "per:label-token-of-base|tokens:6|rows:4|prompt:given"
    longer = [((1,) * 50 + tuple(prompt), target) for prompt, target in ROWS]
    assert label_perplexity(FakeGenerator(), longer, adapter=None) == found


def test_the_adapter_is_the_one_that_was_asked_for() -> None:
    generator = FakeGenerator()
    found = label_perplexity(generator, ROWS, adapter="mine")
    assert found.value == pytest.approx(math.exp(48 / 6 / 2))
    assert {adapter for _, adapter, _ in generator.asked} == {"mine"}


def test_rows_of_like_length_share_a_batch_and_come_back_in_their_order() -> None:
    generator = FakeGenerator()
    rows = [((1,), (n,) * length) for n, length in enumerate([9, 1, 8, 2, 1, 9])]
    found = label_logprobs(generator, rows, adapter=None, batch_size=2)
    assert [sorted(lengths) for lengths, *_ in generator.asked] == [[9, 9], [2, 8], [1, 1]]
    assert found == [-float(sum(target)) for _, target in rows]


def test_a_row_without_a_target_is_certain_and_asked_of_nobody() -> None:
    generator = FakeGenerator()
    assert label_logprobs(generator, [((1,), ())], adapter=None) == [0]
    assert generator.asked == []


@pytest.mark.parametrize("rows", [[], [((1, 2), ())]])
def test_without_any_target_there_is_no_perplexity(
    rows: list[tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    with pytest.raises(DataInvalid, match=r"none has a target token; give rows with translations"):
        label_perplexity(FakeGenerator(), rows, adapter=None)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_it_is_the_exponential_of_the_loss_on_labels(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tests.training import tiny
    from training.evaluate.generate import Generator

    base = tiny.write_base(tmp_path / "base")
    rows = tiny.lessons(base, 9)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    with torch.inference_mode():
        losses = [
            float(
                model(
                    input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])
                ).loss
            )
            for row in rows
        ]
    tokens = [len(row.target_ids) for row in rows]
    expected = sum(loss * n for loss, n in zip(losses, tokens, strict=True)) / sum(tokens)
    found = label_perplexity(
        Generator.load(base),
        [(row.prompt_ids, row.target_ids) for row in rows],
        adapter=None,
        batch_size=4,
    )
    assert found.value == pytest.approx(math.exp(expected), rel=1e-4)
    assert found.tokens == sum(tokens)
