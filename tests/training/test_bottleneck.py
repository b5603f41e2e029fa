"""Bottleneck adapters stand where they should in the blocks of many architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

from adapters.errors import TrainingFailed
from tests.training import tiny
from training.methods.bottleneck import (
    attach_bottlenecks,
    bottlenecks,
    places_of,
    without_bottlenecks,
)
from training.methods.config import BottleneckMethod

pytestmark = pytest.mark.train

METHOD = BottleneckMethod(kind="bottleneck", size=4)
_LLAMA: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
}  # fmt: skip
_GPT: dict[str, Any] = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2}
_BART: dict[str, Any] = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24, "pad_token_id": 1, "decoder_start_token_id": 1,
    "forced_eos_token_id": 2,
}  # fmt: skip
_T5: dict[str, Any] = {
    "vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2,
    "num_decoder_layers": 1, "decoder_start_token_id": 0,
}  # fmt: skip
# By architecture: its class, its config and the number of its blocks.
MODELS: dict[str, tuple[Any, Any, int]] = {
    "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig(**_LLAMA), 2),
    "gemma3": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(**_LLAMA), 2),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**_LLAMA), 2),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**_LLAMA), 2),
    "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(**_GPT), 2),
    "gpt_neo": (
        hf.GPTNeoForCausalLM,
        hf.GPTNeoConfig(
            vocab_size=50, hidden_size=16, num_layers=2, num_heads=2,
            attention_types=[[["global", "local"], 1]],
        ),
        2,
    ),
    "gpt_neox": (
        hf.GPTNeoXForCausalLM,
        hf.GPTNeoXConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2,
        ),
        2,
    ),
    "bloom": (
        hf.BloomForCausalLM,
        hf.BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2),
        2,
    ),
    "marian": (hf.MarianMTModel, hf.MarianConfig(**_BART), 3),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig(**_BART), 3),
    "t5": (hf.T5ForConditionalGeneration, hf.T5Config(**_T5), 3),
    "mt5": (
        hf.MT5ForConditionalGeneration,
        hf.MT5Config(**_T5, feed_forward_proj="gated-gelu"),
        3,
    ),
}  # fmt: skip


def logits_of(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 8]])
    inputs = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **inputs).logits
    return logits


@pytest.mark.parametrize("name", MODELS)
def test_every_block_gets_two_that_begin_as_the_identity(name: str) -> None:
    kind, config, blocks = MODELS[name]
    torch.manual_seed(0)
    model = kind(config).eval()
    before, names = logits_of(model), {n for n, _ in model.named_parameters()}
    attach_bottlenecks(model, METHOD)
    torch.testing.assert_close(logits_of(model), before, rtol=0, atol=0)
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert len(list(bottlenecks(model))) == 2 * blocks
    assert len(trainable) == 4 * 2 * blocks
    assert {n for n, _ in model.named_parameters()} - trainable == names
    for _, adapter in bottlenecks(model):
        torch.nn.init.normal_(adapter.up.weight)
        changed = logits_of(model)
        assert not torch.allclose(changed, before)
        torch.nn.init.zeros_(adapter.up.weight)


def test_gemmas_stand_between_the_norm_and_the_residual_addition() -> None:
    model = tiny.model("gemma")
    attach_bottlenecks(model, METHOD)
    assert places_of(model) == ["post_attention_layernorm", "post_feedforward_layernorm"]
    seen: dict[str, torch.Tensor] = {}
    block = model.model.layers[0]
    adapter = block.bottleneck_mlp
    torch.nn.init.normal_(adapter.up.weight)
    adapter.register_forward_hook(lambda m, args, out: seen.update(given=args[0], made=out))
    block.pre_feedforward_layernorm.register_forward_hook(
        lambda m, args, out: seen.update(residual=args[0])
    )
    block.register_forward_hook(lambda m, args, out: seen.update(block=out))
    model(input_ids=torch.tensor([[5, 6, 7]]))
    assert not torch.allclose(seen["made"], seen["given"])
    torch.testing.assert_close(seen["block"], seen["residual"] + seen["made"])


def test_without_them_the_model_computes_what_it_did_before() -> None:
    model = tiny.model("llama")
    before = logits_of(model)
    attach_bottlenecks(model, METHOD)
    for _, adapter in bottlenecks(model):
        torch.nn.init.normal_(adapter.up.weight)
    after = logits_of(model)
    with without_bottlenecks(model):
        torch.testing.assert_close(logits_of(model), before)
    torch.testing.assert_close(logits_of(model), after)
    assert not torch.allclose(after, before)


def test_size_activation_and_dropout_are_the_recipes() -> None:
    model = tiny.model("llama")
    method = BottleneckMethod(kind="bottleneck", size=7, activation="relu", dropout=0.5)
    attach_bottlenecks(model, method)
    for _, adapter in bottlenecks(model):
        assert adapter.down.out_features == adapter.up.in_features == 7
        assert isinstance(adapter.activation, torch.nn.ReLU)
        assert adapter.dropout.p == 0.5


def test_an_unknown_architecture_is_refused_by_name() -> None:
    config = hf.MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(TrainingFailed, match="MambaForCausalLM"):
        attach_bottlenecks(hf.MambaForCausalLM(config), METHOD)
