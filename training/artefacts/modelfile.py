"""Ollama's Modelfile for an adapter: its prompt as a Go template, its stop tokens, its sampling."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from adapters.errors import PromptInvalid
from adapters.ids import LanguagePair
from adapters.manifest import AdapterManifest


def modelfile(
    manifest: AdapterManifest, pair: LanguagePair, base: Path, *, source: str, adapter: str
) -> str:
    """Return the Modelfile of one pair: `source` is its FROM, `adapter` its ADAPTER.

    The template renders what the adapter was trained on, up to one thing: Ollama reads markup in
    the user's text as markup. It adds the BOS token itself.
    """
    before, after = manifest.prompt.frame(pair)
    before = before.removeprefix(manifest.prompt.bos_token)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    stops = [tokenizer.id_to_token(stop) for stop in manifest.prompt.stop_token_ids]
    decoding = manifest.decoding
    lines = [
        f"FROM {source}",
        f"ADAPTER {adapter}",
        f'TEMPLATE """{_literal(before)}{{{{ .Prompt }}}}{_literal(after)}"""',
        *(f'PARAMETER stop "{stop}"' for stop in stops),
        f"PARAMETER temperature {decoding.temperature:g}",
        f"PARAMETER top_p {decoding.top_p:g}",
        f"PARAMETER repeat_penalty {decoding.repetition_penalty:g}",
    ]
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    if '"""' in text:
        raise PromptInvalid('a Modelfile cannot hold a template with """; change the prompt')
    return text.replace("{{", '{{ "{{" }}')
