"""The Qwen preset on a tiny Qwen2: the base's own ChatML turns, and a loss on the answer only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM

from adapters.tokenizer import BaseTokenizer
from tests import fakes
from training import prepare
from training.encode import IGNORED, Encoder
from training.fit.run import fit
from training.fit.trainer import LabelTrainer
from training.recipe import Recipe

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_TEXT, IM_START, IM_END = range(3)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PAIRS = [(f"Restart the Pod number {i}.", f"重启第 {i} 个 Pod。") for i in range(40)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A random Qwen2 with the files that Qwen2.5 has on the hub, and no card of ours."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(TOKENS) + 256,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT,
        eos_token_id=IM_END,
    )
    folder = tmp_path / "qwen2"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate([*TOKENS, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"bos_token": None, "eos_token": "<|im_end|>", "chat_template": CHATML}
    fakes.write_json(folder / "tokenizer_config.json", facts)
    fakes.write_json(folder / "generation_config.json", {"eos_token_id": [IM_END, END_OF_TEXT]})
    return folder


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Recipe:
    lines = [json.dumps({"en": en, "zh": zh}, ensure_ascii=False) for en, zh in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    changes = [f"base={base}", f"data.0.jsonl={tmp_path / 'pairs.jsonl'}", "split.dev=4"]
    changes += [
        "split.test=4",
        "split.near=null",
        "schedule.max_steps=2",
        "schedule.max_length=400",
    ]
    return Recipe.load("qwen-k8s-en-zh", overrides=changes)


def encoder_of(recipe: Recipe, base: Path) -> Encoder:
    prompt = recipe.prompt.complete(base)
    length = recipe.schedule.max_length
    return Encoder(prompt, recipe.pair, BaseTokenizer.load(base), max_length=length)


def test_the_prompt_is_the_bases_own_and_the_loss_is_on_the_answer_only(
    recipe: Recipe, base: Path
) -> None:
    train = prepare.prepare(recipe).train
    tokenizer = BaseTokenizer.load(base)
    for pair, row in zip(train, encoder_of(recipe, base).encode_all(train)[0], strict=True):
        asked = tokenizer.encode_markup(
            "<|im_start|>system\nYou are a professional translator. Translate the text accurately "
            "while preserving the original formatting and technical terms.<|im_end|>\n"
            "<|im_start|>user\nTranslate the following English text to Chinese:\n"
            f"{pair.source}<|im_end|>\n<|im_start|>assistant\n"
        )
        answer = tokenizer.encode_text(pair.target)
        assert row.input_ids == [*asked, *answer, IM_END]
        assert row.labels == [IGNORED] * len(asked) + [*answer, IM_END]


def test_the_preset_trains_on_those_labels(
    recipe: Recipe, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    compute = LabelTrainer.compute_loss

    def look(trainer: Any, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        seen.append((inputs["input_ids"], inputs["labels"]))
        return compute(trainer, model, inputs, *rest, **options)

    monkeypatch.setattr(LabelTrainer, "compute_loss", look)
    rows, report = encoder_of(recipe, base).encode_all(prepare.prepare(recipe).train)
    result = fit(rows, [], base, recipe.method, recipe.schedule, tmp_path / "run")
    assert report.too_long == 0
    assert result.steps == 2
    begin = [IM_START, *BaseTokenizer.load(base).encode_text("assistant\n")]
    for ids_BT, labels_BT in seen:
        for ids, labels in zip(ids_BT.tolist(), labels_BT.tolist(), strict=True):
            first = next(i for i, label in enumerate(labels) if label != IGNORED)
            assert ids[first - len(begin) : first] == begin
            last = max(i for i, label in enumerate(labels) if label != IGNORED)
            assert labels[first : last + 1] == ids[first : last + 1]
            assert labels[last] == IM_END
