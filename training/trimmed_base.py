"""A base model with the vocabulary of a few languages: the same model, several times smaller.

Two thirds of a small multilingual model are the rows of its embedding, and its head is most of what
a step computes. Rows of other scripts go, the others keep their order. Text made of kept tokens is
cut into the same tokens as before, since whatever a kept token can be merged from is kept as well;
other text is cut finer, down to bytes.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from adapters.base_model import CARD_FILE, read_card
from adapters.errors import BaseModelNotFound

_TOKENIZER: Final = "tokenizer.json"
_COPIED: Final = (".json", ".jinja", ".html")  # settings, chat template, licences
# A script is in use where this share of the text's tokens is written in it.
_SCRIPT_SHARE: Final = 0.005
_LETTERS_OF_ALL: Final = frozenset({"MODIFIER", "COMBINING", "FULLWIDTH"})
# Matrix products like their sizes round.
_ROUND: Final = 64


@dataclass(frozen=True)
class Trimmed:
    """What was kept: `seen` tokens occur in the text, `vocab_size` are there in all."""

    seen: int
    vocab_size: int
    vocab_size_before: int
    scripts: tuple[str, ...]


class Vocabulary:
    """The tokens of a BPE tokenizer with its merges. Raises BaseModelNotFound for other kinds."""

    def __init__(self, folder: Path) -> None:
        path = folder / _TOKENIZER
        self._file = json.loads(path.read_text(encoding="utf-8"))
        model = self._file["model"]
        if model["type"] != "BPE" or not model.get("byte_fallback"):
            raise BaseModelNotFound(
                f"{path}: expected a BPE tokenizer that falls back to bytes, found "
                f"{model['type']}; its vocabulary cannot be trimmed without losing text"
            )
        self._tokenizer = Tokenizer.from_file(str(path))
        self._ids: dict[str, int] = model["vocab"]
        self._parts: dict[str, list[tuple[str, str]]] = {}
        for left, right in model["merges"]:
            self._parts.setdefault(left + right, []).append((left, right))

    def __len__(self) -> int:
        return len(self._ids)

    def count(self, texts: Iterable[str]) -> Counter[str]:
        """Return how often each token occurs in the texts."""
        found: Counter[str] = Counter()
        for encoded in self._tokenizer.encode_batch(list(texts), add_special_tokens=False):
            found.update(encoded.tokens)
        return found

    def choose(self, counts: Counter[str], size: int) -> list[str]:
        """Return at least the tokens of `counts`, then the commonest of their scripts, in order.

        At most about `size`, unless those of `counts` are more.
        """
        controls = {t["content"] for t in self._file["added_tokens"] if t["special"]}
        always = {t for t in self._ids if _is_byte(t) or (len(t) == 1 and t.isascii())}
        kept = self._with_parts(always | (controls & self._ids.keys()) | counts.keys(), set())
        scripts = scripts_of(counts)
        for token in sorted(self._ids, key=self._ids.__getitem__):  # the commonest come first
            if len(kept) >= size:
                break
            if token not in kept and _scripts(token) <= scripts:
                kept |= self._with_parts({token}, kept)
        return sorted(kept, key=self._ids.__getitem__)

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids that the tokens have here."""
        return [self._ids[token] for token in tokens]

    def trimmed(self, tokens: Sequence[str]) -> dict[str, Any]:
        """Return tokenizer.json with these tokens only, numbered in their order."""
        ids = {token: n for n, token in enumerate(tokens)}
        merges = [
            [left, right]
            for left, right in self._file["model"]["merges"]
            if left in ids and right in ids and left + right in ids
        ]
        added = [
            {**token, "id": ids[token["content"]]}
            for token in self._file["added_tokens"]
            if token["content"] in ids
        ]
        model = {**self._file["model"], "vocab": ids, "merges": merges}
        body = {**self._file, "model": model, "added_tokens": added}
        return _renumbered(body, ids)

    def _with_parts(self, tokens: Iterable[str], known: set[str]) -> set[str]:
        kept: set[str] = set()
        waiting = list(tokens)
        while waiting:
            token = waiting.pop()
            if token in kept or token in known:
                continue
            kept.add(token)
            waiting += [part for parts in self._parts.get(token, ()) for part in parts]
        return kept


def scripts_of(counts: Counter[str]) -> frozenset[str]:
    """Return the scripts in which the counted tokens are written, rare ones left out."""
    found: Counter[str] = Counter()
    for token, count in counts.items():
        for script in _scripts(token):
            found[script] += count
    return frozenset(s for s, count in found.items() if count >= _SCRIPT_SHARE * counts.total())


def trim(base: Path, texts: Iterable[str], folder: Path, *, size: int, name: str) -> Trimmed:
    """Write the model in `base` with the vocabulary of `texts` to `folder`, which must not be.

    The texts should be those of training: others are encoded as well, only in more tokens.
    Raises BaseModelNotFound for models and tokenizers of other kinds.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    vocabulary = Vocabulary(base)
    counts = vocabulary.count(texts)
    tokens = vocabulary.choose(counts, size)
    rows = vocabulary.ids(tokens)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True)
    padded = -(-len(rows) // _ROUND) * _ROUND
    for part in {model.get_input_embeddings(), model.get_output_embeddings()}:
        # Rows beyond the tokens are zeros as an embedding; nothing is encoded to them.
        weight = part.weight.data
        kept = torch.zeros(padded, weight.shape[1], dtype=weight.dtype)
        kept[: len(rows)] = weight[torch.tensor(rows)]
        part.weight = torch.nn.Parameter(kept, requires_grad=False)
    model.tie_weights()
    ids = {old: new for new, old in enumerate(rows)}
    _renumber_config(model.config, ids, padded)
    _renumber_config(model.generation_config, ids, None)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    _write(draft / _TOKENIZER, vocabulary.trimmed(tokens), indent=None)
    for file in base.iterdir():
        ours = file.suffix in _COPIED or file.name == "NOTICE" or file.name.startswith("LICENSE")
        if ours and not (draft / file.name).exists():
            shutil.copyfile(file, draft / file.name)
    _write(draft / CARD_FILE, _card(base, name, len(rows), ids))
    draft.rename(folder)
    return Trimmed(len(counts), len(rows), len(vocabulary), tuple(sorted(scripts_of(counts))))


def _card(base: Path, name: str, kept: int, ids: dict[int, int]) -> dict[str, Any]:
    card = read_card(base)
    prompt = dict(card.get("prompt") or {})
    if "stop_token_ids" in prompt:
        prompt["stop_token_ids"] = [ids[old] for old in prompt["stop_token_ids"]]
    source = f"{card.get('name') or base.name}, {kept} tokens of its vocabulary kept"
    return {**card, "name": name, "source": source, **({"prompt": prompt} if prompt else {})}


def _renumber_config(config: Any, ids: dict[int, int], vocab_size: int | None) -> None:
    for key, value in list(vars(config).items()):
        if key.endswith("_token_id") and isinstance(value, int) and not isinstance(value, bool):
            setattr(config, key, ids.get(value))
        elif key.endswith("_token_id") and isinstance(value, list):
            setattr(config, key, [ids[old] for old in value if old in ids])
    if vocab_size is not None:
        config.vocab_size = vocab_size


def _renumbered(body: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    post: dict[str, Any] = body.get("post_processor") or {}
    specials = {
        name: {**special, "ids": [ids[token] for token in special["tokens"]]}
        for name, special in (post.get("special_tokens") or {}).items()
    }
    return {**body, "post_processor": {**post, "special_tokens": specials}} if specials else body


def _scripts(token: str) -> frozenset[str]:
    names = {unicodedata.name(c, "?").split()[0].split("-")[0] for c in token if c.isalpha()}
    return frozenset(names - _LETTERS_OF_ALL)


def _is_byte(token: str) -> bool:
    return len(token) == len("<0x00>") and token.startswith("<0x") and token.endswith(">")


def _write(path: Path, body: dict[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(body, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def read_texts(path: Path) -> list[str]:
    """Return the lines of a text file, or all strings of a JSON Lines file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix != ".jsonl":
        return lines
    return [v for line in lines for v in json.loads(line).values() if isinstance(v, str)]


def texts_of(recipe_name: str, base: Path, data: Path | None = None) -> list[str]:
    """Return what training on a recipe encodes: the texts of its training part, and its prompts.

    Raises RecipeInvalid, DataInvalid.
    """
    from training.prepare import prepare
    from training.recipe import Recipe

    recipe = Recipe.load(recipe_name, folder=data)
    fmt = recipe.prompt.complete(base)
    frames = [text for pair in recipe.pairs for text in fmt.frame(pair)]
    segments = prepare(recipe).train
    return [*frames, *(text for s in segments for text in (s.source, s.target))]
