"""The base model's tokenizer as both sides use it: ids only, and text that stays text.

Training and serving load the same `tokenizer.json` by the same library, so that equal strings
give equal ids on both sides.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self

from tokenizers import Tokenizer as _FastTokenizer

from adapters.errors import BaseModelNotFound, RequestInvalid


class Tokenizer(Protocol):
    """What PromptFormat needs of a tokenizer."""

    def encode_markup(self, text: str) -> list[int]:
        """Return ids; control tokens such as `<start_of_turn>` are recognised."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Return ids; what looks like a control token is plain text."""
        ...


@lru_cache(maxsize=2)
def _read(path: Path, _changed_ns: int) -> tuple[_FastTokenizer, _FastTokenizer]:
    # A vocabulary of 262,144 takes 0.7 s, and a training needs it in four places.
    data = path.read_text(encoding="utf-8")
    return _FastTokenizer.from_str(data), _FastTokenizer.from_str(data)


class BaseTokenizer:
    """`tokenizer.json` of a base model. Adds no BOS or EOS by itself: the prompt format does."""

    def __init__(self, markup: _FastTokenizer, text: _FastTokenizer) -> None:
        self._markup = markup
        self._text = text
        # Users' segments must not be able to close a turn or open a system message.
        self._text.encode_special_tokens = True
        # What an unknown character becomes (`<unk>`, or bytes) is special in name only.
        unknown = text.encode("\ue000", add_special_tokens=False).ids
        added = markup.get_added_tokens_decoder().items()
        self._control = {i: t.content for i, t in added if t.special and i not in unknown}
        for tokenizer in (markup, text):
            # A file saved during training may say "cut at 512": prompts are never cut or padded.
            tokenizer.no_truncation()
            tokenizer.no_padding()

    @classmethod
    def load(cls, base: Path) -> Self:
        """Return the tokenizer of the base model in folder `base`. Raises BaseModelNotFound."""
        path = base / "tokenizer.json"
        try:
            return cls(*_read(path, path.stat().st_mtime_ns))
        except FileNotFoundError as error:
            raise BaseModelNotFound(
                f"{path}: no such file; a base model folder needs tokenizer.json "
                "(`dragoman base list` shows the folders that can be fetched)"
            ) from error
        except Exception as error:  # the library raises plain Exception
            raise BaseModelNotFound(
                f"{path}: cannot be read as a tokenizer ({error}); fetch the base model again"
            ) from error

    def encode_markup(self, text: str) -> list[int]:
        """Return ids; control tokens such as `<start_of_turn>` are recognised."""
        return list(self._markup.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> list[int]:
        """Return ids; what looks like a control token is plain text. Raises RequestInvalid."""
        try:
            ids = list(self._text.encode(text, add_special_tokens=False).ids)
        except TypeError as error:
            raise RequestInvalid(
                f"the text is no valid Unicode ({ascii(text)[:60]}): "
                "a lone surrogate; send text that can be written as UTF-8"
            ) from error
        control = self._control.keys() & ids
        if not control:
            return ids
        # A model with the token as a whole word in its vocabulary (Unigram, WordLevel, BPE with
        # ignore_merges) finds it without the added-token rule; apart, its letters mean nothing.
        return self._encode_apart(text, self._control[min(control)])

    def _encode_apart(self, text: str, token: str) -> list[int]:
        first, *rest = text.split(token)
        if not rest or len(token) < 2:
            raise RequestInvalid(
                f"the text {ascii(text)[:60]} contains the control token {token!r}, which this "
                "base model's tokenizer cannot write as plain text; remove it"
            )
        ids = self.encode_text(first) if first else []
        for piece in rest:
            ids += [*self._encode_letters(token), *(self.encode_text(piece) if piece else [])]
        return ids

    def _encode_letters(self, token: str) -> list[int]:
        return [*self.encode_text(token[0]), *self.encode_text(token[1:])]

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids` without control tokens."""
        return self._markup.decode(ids, skip_special_tokens=True)

    def id_of(self, token: str) -> int | None:
        """Return the id of one token of the vocabulary."""
        found: int | None = self._markup.token_to_id(token)
        return found
