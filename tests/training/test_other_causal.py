"""GPT-Neo (learnt positions, local attention) and BLOOM (ALiBi) through the causal fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny, tiny_pairs
from training.evaluate.generate import Generator
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import FullMethod, LoraMethod
from training.methods.served import Way, how_served

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

STOPS = (fakes.END, fakes.EOS)
TEXTS = ["open", "a much longer message to translate", "x", "save it all", ""]
KINDS = ("gpt_neo", "bloom")


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_each_row_what_it_gets_alone(kind: str, tmp_path: Path) -> None:
    base = tiny_pairs.write_causal_base(tmp_path / "base", kind)
    tokenizer = BaseTokenizer.load(base)
    prompts = [fakes.prompt_format().encode(text, tiny.PAIR, tokenizer) for text in TEXTS]
    limits = [3, 9, 14, 6, 1]
    generator = Generator.load(base)
    for batch_size in (2, 64):
        answers = generator.generate(
            prompts, stop_token_ids=STOPS, max_tokens=limits, batch_size=batch_size
        )
        expected = [step_by_step(generator, p, n) for p, n in zip(prompts, limits, strict=True)]
        assert [list(answer.token_ids) for answer in answers] == expected
        assert len({answer[:1] for answer in map(tuple, expected)}) > 1
    targets = [[7, 8, fakes.END]] * len(prompts)
    for prompt, found in zip(prompts, generator.logprobs(prompts, targets), strict=True):
        with torch.inference_mode():
            logits = generator.base(input_ids=torch.tensor([prompt + targets[0]])).logits[0]
        scores = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        total = sum(float(scores[i, token]) for i, token in enumerate(targets[0]))
        assert found == pytest.approx(total, abs=1e-4)


def step_by_step(generator: Generator, prompt: list[int], limit: int) -> list[int]:
    """Return the greedy answer without batch, padding and cache."""
    ids: list[int] = []
    while len(ids) < limit and (not ids or ids[-1] not in STOPS):
        with torch.inference_mode():
            logits = generator.base(input_ids=torch.tensor([prompt + ids])).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids


@pytest.mark.parametrize("method", [LoraMethod(rank=4), FullMethod(kind="full", embeddings=True)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_labels_alone(
    kind: str, method: LoraMethod | FullMethod, tmp_path: Path
) -> None:
    base = tiny_pairs.write_causal_base(tmp_path / "base", kind)
    rows = tiny.lessons(base)
    # A rate of next to nothing: the loss on dev is the base's, row by row and unpadded.
    still = Schedule(max_steps=1, batch_size=4, learning_rate=1e-12, evaluate_every=1)
    found = fit(rows, rows[:5], base, method, still, tmp_path / "still").dev_losses[-1][1]
    model = Generator.load(base).base
    total, count = 0.0, 0
    for row in rows[:5]:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        scores = torch.log_softmax(logits[len(row.prompt_ids) - 1 : -1], -1)
        total -= sum(float(scores[i, token]) for i, token in enumerate(row.target_ids))
        count += len(row.target_ids)
    assert found == pytest.approx(total / count, rel=1e-3)
    learning = Schedule(epochs=4, batch_size=4, learning_rate=1e-2, warmup=0.0)
    losses = fit(rows, [], base, method, learning, tmp_path / "run").losses
    assert losses[-1][1] < losses[0][1] - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_neither_is_served_as_an_adapter(kind: str) -> None:
    assert how_served(LoraMethod(), kind).way is Way.MERGED
