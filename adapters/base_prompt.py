"""The part of a prompt that the base model decides: chat template, control tokens, stop tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adapters.base_model import read_card, read_config
from adapters.errors import PromptInvalid
from adapters.manifest import describe
from adapters.prompt import Example, PromptFormat


def prompt_for_base(
    base: Path,
    *,
    user: str = "{text}",
    system: str | None = None,
    examples: tuple[Example, ...] = (),
) -> PromptFormat:
    """Return a PromptFormat for the model in folder `base`. Raises PromptInvalid.

    What `dragoman base fetch` noted comes first, then what transformers' files say.
    """
    noted = read_card(base).get("prompt")
    facts = noted if isinstance(noted, dict) else _from_transformers_files(base)
    if not facts.get("chat_template"):
        raise PromptInvalid(
            f"{base}: the base model has no chat template; give one with --prompt FILE.json "
            '({"chat_template": "…", "user": "…{text}…", "stop_token_ids": […]})'
        )
    try:
        return PromptFormat(**{**facts, "user": user, "system": system, "examples": examples})
    except ValidationError as error:
        raise PromptInvalid(f"{base}: {describe(error)}") from error


def _from_transformers_files(base: Path) -> dict[str, Any]:
    tokenizer = _read_json(base / "tokenizer_config.json")
    generation = _read_json(base / "generation_config.json")
    eos = generation.get("eos_token_id", read_config(base).get("eos_token_id"))
    return {
        "chat_template": _template(base, tokenizer.get("chat_template")),
        "bos_token": _token(tokenizer.get("bos_token")),
        "eos_token": _token(tokenizer.get("eos_token")),
        "stop_token_ids": eos if isinstance(eos, list) else [] if eos is None else [eos],
    }


def _template(base: Path, configured: Any) -> Any:
    file = base / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if isinstance(configured, list):  # several, as [{"name": …, "template": …}]
        named = {t.get("name"): t.get("template") for t in configured if isinstance(t, dict)}
        return named.get("default")
    return configured


def _token(value: Any) -> str:
    # transformers writes a token as a string or as {"content": …, "lstrip": …}.
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PromptInvalid(f"{path}: cannot be read ({error}); fetch the base again") from error
    if not isinstance(value, dict):
        raise PromptInvalid(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
