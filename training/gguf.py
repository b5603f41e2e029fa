"""GGUF weights as a transformers folder: bf16 safetensors and a tokenizer that is right.

What a plain conversion gets wrong (transformers 5.19), and this one puts right: weights stay
packed unless asked otherwise, the tokenizer adds no BOS though the GGUF asks for one (without it
Gemma emits loops), the chat template may be missing, and only one end token is kept.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Left behind by the conversion; says nothing about what the model computes.
_CONFIG_NOISE = ("_model_name_or_path", "_name_or_path")
_TOKENIZER_NOISE = ("is_local", "local_files_only")


@dataclass(frozen=True)
class TokenizerFacts:
    """What a GGUF does not say, or says and transformers drops."""

    bos_token: str
    eos_token: str
    add_bos: bool
    stop_token_ids: tuple[int, ...]  # the first is what training teaches as the end of an answer
    chat_template: str | None  # None: the one inside the GGUF


def convert(
    gguf: Path, folder: Path, facts: TokenizerFacts, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the model of `gguf` into `folder`; return the default prompt's base-dependent part.

    Takes memory for the weights in float32 once and in bf16 once.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    say("reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True
    )
    tokenizer.save_pretrained(folder)
    say("unpacking the weights")
    with redirect_stderr(io.StringIO()):  # its progress bar knows no switch
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
    say("writing safetensors")
    model.save_pretrained(folder)
    return mend(folder, facts)


def mend(folder: Path, facts: TokenizerFacts) -> dict[str, Any]:
    """Put right what the conversion wrote into `folder`; return the prompt's part of the card."""
    template = facts.chat_template
    if template is None:
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    _edit(folder / "config.json", remove=_CONFIG_NOISE)
    _edit(
        folder / "generation_config.json",
        {"eos_token_id": sorted(facts.stop_token_ids)},
        remove=("_from_model_config",),  # or transformers derives it from config.json again
    )
    _edit(
        folder / "tokenizer_config.json",
        {
            "bos_token": facts.bos_token,
            "eos_token": facts.eos_token,
            "add_bos_token": facts.add_bos,
            "add_eos_token": False,
            "chat_template": template,
        },
        remove=_TOKENIZER_NOISE,
    )
    if facts.add_bos:
        _add_bos(folder / "tokenizer.json", facts.bos_token)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # written for its owner alone; a server may be somebody else
    return {
        "chat_template": template,
        "bos_token": facts.bos_token,
        "eos_token": facts.eos_token,
        "stop_token_ids": list(facts.stop_token_ids),
    }


def _add_bos(path: Path, bos: str) -> None:
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    bos_id = next(t["id"] for t in tokenizer["added_tokens"] if t["content"] == bos)
    special = {"SpecialToken": {"id": bos, "type_id": 0}}
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, {"SpecialToken": {"id": bos, "type_id": 1}}, second],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _edit(
    path: Path, change: dict[str, Any] | None = None, *, remove: tuple[str, ...] = ()
) -> None:
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    value = {k: v for k, v in value.items() if k not in remove} | (change or {})
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
