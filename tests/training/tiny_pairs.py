"""Random sequence-to-sequence models with real tokenizers, small enough to train in a second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers

from tests import fakes

FAMILIES = ("marian", "mbart", "t5", "mt5")
VERBS = {"open": "öffne", "close": "schließe", "save": "sichere", "move": "bewege"}
NOUNS = {"file": "datei", "cell": "zelle", "pod": "kapsel", "node": "knoten", "menu": "karte"}
_ENDS = ("now", "twice", "again", "later", "here")
_GERMAN_ENDS = ("jetzt", "zweimal", "wieder", "später", "hier")
PAIRS = [
    (f"{verb} the {noun} {end}", f"{german} die {nomen} {ende}")
    for verb, german in VERBS.items()
    for noun, nomen in NOUNS.items()
    for end, ende in zip(_ENDS, _GERMAN_ENDS, strict=True)
]
_SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "scale_embedding": True,
    "dropout": 0.0,
    "init_std": 0.2,  # so that a random model's answers depend on what it read
}


def write_base(folder: Path, kind: str, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write the folder of a random base of `kind`, as the hub has them: no tokenizer.json."""
    folder.mkdir(parents=True)
    write = {"marian": _write_marian, "mbart": _write_mbart, "t5": _write_t5, "mt5": _write_t5}
    torch.manual_seed(0)
    write[kind](folder, kind).to(dtype).save_pretrained(folder)
    return folder


def write_causal_base(folder: Path, kind: str) -> Path:
    """Write the folder of a random base with learnt positions (gpt_neo) or none (bloom)."""
    torch.manual_seed(0)
    ids: dict[str, Any] = {
        "vocab_size": fakes.VOCAB_SIZE,
        "hidden_size": 32,
        "initializer_range": 0.2,
        "bos_token_id": fakes.BOS,
        "eos_token_id": fakes.EOS,
        "pad_token_id": fakes.PAD,
    }
    model: Any
    if kind == "bloom":
        model = transformers.BloomForCausalLM(transformers.BloomConfig(**ids, n_layer=2, n_head=4))
    else:
        layers = [[["global", "local"], 1]]
        config = transformers.GPTNeoConfig(
            **ids, num_layers=2, num_heads=2, attention_types=layers, window_size=8,
            max_position_embeddings=256,
        )  # fmt: skip
        model = transformers.GPTNeoForCausalLM(config)
    _louder(model).save_pretrained(folder)
    fakes.tokenizer().save(str(folder / "tokenizer.json"))
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<pad>",
    }
    fakes.write_json(folder / "tokenizer_config.json", tokenizer)
    card = {"name": "tiny", "prompt": fakes.prompt_format().model_dump(mode="json")}
    fakes.write_json(folder / "dragoman-base.json", card)
    return folder


def write_jsonl(path: Path, source: str, target: str) -> Path:
    """Write the pairs under the keys `source` and `target`, one object a line."""
    lines = (json.dumps({source: s, target: t}, ensure_ascii=False) for s, t in PAIRS)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _write_marian(folder: Path, _: str) -> Any:
    source = _pieces(folder / "source.spm", 0)
    target = _pieces(folder / "target.spm", 1)
    words = ["</s>", "<unk>", *dict.fromkeys([*source, *target]), ">>cmn_Hans<<", "<pad>"]
    fakes.write_json(folder / "vocab.json", {word: i for i, word in enumerate(words)})
    fakes.write_json(folder / "tokenizer_config.json", {"source_lang": "en", "target_lang": "de"})
    pad = len(words) - 1
    ids: dict[str, Any] = {
        "vocab_size": len(words),
        "decoder_vocab_size": len(words),
        "pad_token_id": pad,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
        "decoder_start_token_id": pad,
        "static_position_embeddings": True,
        "activation_function": "swish",
    }
    return transformers.MarianMTModel(transformers.MarianConfig(**_SIZES, **ids))


def _write_mbart(folder: Path, _: str) -> Any:
    _pieces(folder / "sentencepiece.bpe.model", 0, 1)
    tokenizer = {"tokenizer_class": "MBart50Tokenizer", "src_lang": "en_XX", "tgt_lang": "de_DE"}
    fakes.write_json(folder / "tokenizer_config.json", tokenizer)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    ids: dict[str, Any] = {
        "vocab_size": size,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "forced_eos_token_id": 2,
        "decoder_start_token_id": 2,
        "tokenizer_class": "MBart50Tokenizer",
    }
    config = transformers.MBartConfig(**_SIZES, **ids)
    return _louder(transformers.MBartForConditionalGeneration(config))


def _write_t5(folder: Path, kind: str) -> Any:
    _pieces(folder / "spiece.model", 0, 1, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    tokenizer = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    fakes.write_json(folder / "tokenizer_config.json", tokenizer)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    sizes: dict[str, Any] = {
        "vocab_size": size + 3,  # real ones are padded, too
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 2,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    }
    model: Any
    if kind == "t5":
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))
    else:
        gated = transformers.MT5Config(**sizes, feed_forward_proj="gated-gelu")
        model = transformers.MT5ForConditionalGeneration(gated)
    model.shared.weight.data *= 0.1
    return _louder(model)


def _louder(model: Any) -> Any:
    """Let attention speak: a random model hears little but its own last word."""
    for name, parameter in model.named_parameters():
        if name.endswith(("out_proj.weight", "self_attention.dense.weight", "Attention.o.weight")):
            parameter.data *= 6
    return model


def _pieces(path: Path, *sides: int, **ids: Any) -> list[str]:
    texts = path.with_suffix(".txt")
    texts.write_text("\n".join(pair[side] for pair in PAIRS for side in sides), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(texts.with_suffix(".draft")), vocab_size=90,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **ids,
    )  # fmt: skip
    shutil.move(str(texts.with_suffix(".draft")) + ".model", path)
    texts.unlink()
    Path(str(texts.with_suffix(".draft")) + ".vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    numbers = range(model.get_piece_size())
    return [model.id_to_piece(i) for i in numbers if not model.is_control(i) | model.is_unknown(i)]
