"""The base model's tokenizer as both sides use it: ids only, and text that stays text.

Training and serving load the same `tokenizer.json` by the same library, so that equal strings
give equal ids on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from tokenizers import Tokenizer as _FastTokenizer

from adapters.errors import BaseModelNotFound


class Tokenizer(Protocol):
    """What PromptFormat needs of a tokenizer."""

    def encode_markup(self, text: str) -> list[int]:
        """Return ids; control tokens such as `<start_of_turn>` are recognised."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Return ids; what looks like a control token is plain text."""
        ...


class BaseTokenizer:
    """`tokenizer.json` of a base model. Adds no BOS or EOS by itself: the prompt format does."""

    def __init__(self, markup: _FastTokenizer, text: _FastTokenizer) -> None:
        self._markup = markup
        self._text = text
        # Users' segments must not be able to close a turn or open a system message.
        self._text.encode_special_tokens = True

    @classmethod
    def load(cls, base: Path) -> Self:
        """Return the tokenizer of the base model in folder `base`. Raises BaseModelNotFound."""
        path = base / "tokenizer.json"
        if not path.is_file():
            raise BaseModelNotFound(
                f"{path}: no such file; a base model folder needs tokenizer.json "
                "(`dragoman base list` shows the folders that can be fetched)"
            )
        data = path.read_text(encoding="utf-8")
        return cls(_FastTokenizer.from_str(data), _FastTokenizer.from_str(data))

    def encode_markup(self, text: str) -> list[int]:
        """Return ids; control tokens such as `<start_of_turn>` are recognised."""
        return list(self._markup.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> list[int]:
        """Return ids; what looks like a control token is plain text."""
        return list(self._text.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids` without control tokens."""
        return self._markup.decode(ids, skip_special_tokens=True)

    def id_of(self, token: str) -> int | None:
        """Return the id of one token of the vocabulary."""
        found: int | None = self._markup.token_to_id(token)
        return found
