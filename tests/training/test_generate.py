from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.evaluate.generate import Generator
from training.methods.attach import Adapted
from training.methods.save import save

pytestmark = pytest.mark.usefixtures("one_thread")

STOPS = (fakes.END, fakes.EOS)
TEXTS = ["open", "a much longer message to translate", "x", "save it all", ""]


@pytest.fixture(params=["gemma", "llama"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tiny.write_base(tmp_path / "base", request.param)


def prompts_of(base: Path) -> list[list[int]]:
    tokenizer = BaseTokenizer.load(base)
    return [fakes.prompt_format().encode(text, tiny.PAIR, tokenizer) for text in TEXTS]


def write_adapter(base: Path, kind_of: str, folder: Path) -> Path:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=64, target_modules="all-linear",
        init_lora_weights=False,
    )  # fmt: skip
    torch.manual_seed(len(kind_of))
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    return save(Adapted(get_peft_model(model, config), model), base, folder)


def step_by_step(generator: Generator, prompt: list[int], limit: int) -> list[int]:
    """Return the greedy answer without batch, padding and cache."""
    ids: list[int] = []
    while len(ids) < limit and (not ids or ids[-1] not in STOPS):
        with torch.inference_mode():
            logits = generator._loaded[None].model(input_ids=torch.tensor([prompt + ids])).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids


def test_a_batch_gives_each_row_what_it_gets_alone(base: Path) -> None:
    generator, prompts = Generator.load(base), prompts_of(base)
    limits = [3, 9, 14, 6, 1]
    for batch_size in (2, 64):
        answers = generator.generate(
            prompts, stop_token_ids=STOPS, max_tokens=limits, batch_size=batch_size
        )
        expected = [step_by_step(generator, p, n) for p, n in zip(prompts, limits, strict=True)]
        assert [list(answer.token_ids) for answer in answers] == expected


def test_a_row_ends_at_its_stop_token_which_is_no_text(base: Path) -> None:
    generator, prompts = Generator.load(base), prompts_of(base)[:1]
    free = generator.generate(prompts, stop_token_ids=STOPS, max_tokens=[12])[0].token_ids
    stop = free[2]
    answer = generator.generate(prompts, stop_token_ids=[stop], max_tokens=[12])[0]
    assert answer.stopped
    assert answer.token_ids == free[: free.index(stop) + 1]
    assert answer.text == BaseTokenizer.load(base).decode(list(answer.token_ids[:-1]))


def test_base_and_adapters_share_one_model(base: Path, tmp_path: Path) -> None:
    folders = {name: write_adapter(base, name, tmp_path / name) for name in ("one", "three")}
    plain, both, prompts = Generator.load(base), Generator.load(base, folders), prompts_of(base)
    limits = [8] * len(prompts)

    def ids(generator: Generator, adapter: str | None) -> list[tuple[int, ...]]:
        answers = generator.generate(
            prompts, stop_token_ids=STOPS, max_tokens=limits, adapter=adapter
        )
        return [answer.token_ids for answer in answers]

    assert ids(both, None) == ids(plain, None)
    assert len({str(ids(both, name)) for name in (None, "one", "three")}) == 3
    alone = Generator.load(base, {"one": folders["one"]})
    assert ids(both, "one") == ids(alone, "one")


def test_logprobs_are_those_of_the_softmax(base: Path) -> None:
    generator, prompts = Generator.load(base), prompts_of(base)[:2]
    targets = [[7, 8, fakes.END], [9]]
    found = generator.logprobs(prompts, targets)
    for prompt, target, value in zip(prompts, targets, found, strict=True):
        with torch.inference_mode():
            logits = (
                generator._loaded[None].model(input_ids=torch.tensor([prompt + target])).logits[0]
            )
        scores = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        expected = sum(float(scores[i, token]) for i, token in enumerate(target))
        assert value == pytest.approx(expected, abs=1e-4)


def test_logprobs_of_a_batch_are_those_of_each_row_alone(base: Path) -> None:
    generator, prompts = Generator.load(base), prompts_of(base)
    targets = [[7, 8, fakes.END], [9], list(range(10, 30)), [11, 12], [fakes.END]]
    alone = generator.logprobs(prompts, targets)
    for batch_size in (2, 64):
        together = generator.logprobs(prompts, targets, batch_size=batch_size)
        assert together == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("rows", [1, 5])
def test_the_head_is_never_copied_for_every_row(base: Path, tmp_path: Path, rows: int) -> None:
    generator = Generator.load(base, {"one": write_adapter(base, "one", tmp_path / "one")})
    prompts = prompts_of(base)[:rows]
    with torch.profiler.profile(record_shapes=True) as profile:
        generator.generate(prompts, stop_token_ids=STOPS, max_tokens=[2] * rows, adapter="one")
        generator.logprobs(prompts, [[7, 8]] * rows, adapter="one", batch_size=rows)
    batched = [e.input_shapes for e in profile.events() or () if e.name == "aten::bmm"]
    assert not [s for s in batched if [rows, tiny.HIDDEN, fakes.VOCAB_SIZE] in s]
    products = [e.input_shapes for e in profile.events() or () if e.name == "aten::mm"]
    assert [s for s in products if [tiny.HIDDEN, fakes.VOCAB_SIZE] in s]


def test_progress_counts_every_prompt(base: Path) -> None:
    done: list[int] = []
    prompts = prompts_of(base)
    generator = Generator.load(base)
    generator.generate(
        prompts, stop_token_ids=STOPS, max_tokens=[2] * 5, batch_size=2, on_progress=done.append
    )
    assert done == [2, 2, 1]


def test_an_adapter_that_is_not_loaded_is_an_error(base: Path) -> None:
    with pytest.raises(KeyError, match="other"):
        Generator.load(base).generate([[5]], stop_token_ids=STOPS, max_tokens=[1], adapter="other")


def test_samples_differ_between_seeds_and_are_the_same_for_one(base: Path) -> None:
    generator = Generator.load(base)
    prompts = prompts_of(base)[:2] * 3

    def sample(seed: int, temperature: float = 1.0) -> list[tuple[int, ...]]:
        answers = generator.generate(
            prompts, stop_token_ids=STOPS, max_tokens=[6] * 6, temperature=temperature, seed=seed
        )
        return [answer.token_ids for answer in answers]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert len(set(sample(1))) > 2
    greedy = generator.generate(prompts, stop_token_ids=STOPS, max_tokens=[6] * 6)
    assert sample(1, temperature=1e-4) == [answer.token_ids for answer in greedy]
