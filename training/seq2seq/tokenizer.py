"""The base's own tokenizer, asked as its family wants to be asked. Imports transformers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from transformers import AutoTokenizer
from transformers.utils import logging

from adapters.base_model import read_config
from adapters.errors import BaseModelError, PromptInvalid, RequestInvalid
from adapters.ids import LanguagePair
from adapters.prompt import LANGUAGE_NAMES
from training.seq2seq.family import Family
from training.seq2seq.languages import mbart_code

_MARIAN_CODE: Final = re.compile(r"\s*(>>.+?<<)")
_SHOWN_CODES: Final = 12

Encode = Callable[[str], list[int]]


class PairTokenizer:
    """Ids of sources and targets, control tokens included; what looks like one in a text is text.

    `template` is what stands around the source, with {text}, {source} and {target}.
    """

    def __init__(
        self, tokenizer: Any, *, family: Family, pair: LanguagePair, template: str, start: int
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._pair = pair
        self._family = family
        self.pad: int = tokenizer.pad_token_id
        self.eos: int = tokenizer.eos_token_id
        self.start = start  # what the decoder begins with
        self.forced_bos: int | None = None  # what it must write first
        # Marian's head gives its padding a score like any word's; its own decoder has no such id.
        self.never_written = [self.pad] if family is Family.MARIAN else None
        self._before: list[int] = []
        self._control = _control_tokens(tokenizer)
        if family is Family.MBART50:
            codes = [mbart_code(language) for language in (pair.source, pair.target)]
            source, self.forced_bos = tokenizer.convert_tokens_to_ids(codes)
            self._before = [source]
        if family is Family.MARIAN:
            _check_code(tokenizer, template)

    @classmethod
    def load(cls, base: Path, *, family: Family, pair: LanguagePair, template: str) -> Self:
        """Return the tokenizer in folder `base`. Raises BaseModelError, PromptInvalid."""
        logging.set_verbosity_error()
        try:
            with warnings.catch_warnings():
                # Marian's advises sacremoses, whose rules for punctuation are for Latin scripts.
                warnings.simplefilter("ignore")
                tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        except Exception as error:  # each of its back ends raises errors of its own
            raise BaseModelError(
                f"{base}: its tokenizer cannot be read ({type(error).__name__}: {error}); expected "
                "source.spm, target.spm and vocab.json (Marian), sentencepiece.bpe.model (mBART), "
                "or spiece.model (T5), or a tokenizer.json; fetch the base again"
            ) from error
        config = read_config(base)
        start = config.get("decoder_start_token_id")
        start = tokenizer.eos_token_id if start is None else int(start)
        return cls(tokenizer, family=family, pair=pair, template=template, start=start)

    def encode_source(self, text: str) -> list[int]:
        """Return what the encoder reads. Raises RequestInvalid."""
        names = (LANGUAGE_NAMES.get(code, code) for code in (self._pair.source, self._pair.target))
        source, target = names
        asked = self._template.format(text=text, source=source, target=target)
        return [*self._before, *self._body(asked, self._plain_source), self.eos]

    def encode_target(self, text: str) -> list[int]:
        """Return what the decoder is to write, the end included. Raises RequestInvalid."""
        before = [] if self.forced_bos is None else [self.forced_bos]
        return [*before, *self._body(text, self._plain_target), self.eos]

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of the bare source text: what limits of length are counted in."""
        return self._body(text, self._plain_source)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids, without control tokens."""
        options = {"use_source_tokenizer": False} if self._family is Family.MARIAN else {}
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False, **options
        )
        return text

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self._tokenizer.save_pretrained(folder)

    def _plain_source(self, text: str) -> list[int]:
        return self._ids(text=text)

    def _plain_target(self, text: str) -> list[int]:
        return self._ids(text_target=text)

    def _ids(self, **text: str) -> list[int]:
        options = {"add_special_tokens": False, "split_special_tokens": True}
        return list(self._tokenizer(**text, **options)["input_ids"])

    def _body(self, text: str, encode: Encode) -> list[int]:
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise RequestInvalid(
                    f"the text is no valid Unicode ({ascii(text)[:60]}): a lone surrogate; "
                    "send text that can be written as UTF-8"
                ) from error
        ids = encode(text)
        found = self._control.keys() & ids
        return self._apart(text, self._control[min(found)], encode) if found else ids

    def _apart(self, text: str, token: str, encode: Encode) -> list[int]:
        # Unigram has its control tokens as whole words in the vocabulary; apart, the letters of
        # one mean nothing.
        first, *rest = text.split(token)
        if not rest:
            raise RequestInvalid(
                f"the text {ascii(text)[:60]} contains the control token {token!r}, which this "
                "base model's tokenizer cannot write as plain text; remove it"
            )
        ids = self._body(first, encode) if first else []
        for piece in rest:
            ids += [*encode(token[0]), *encode(token[1:])]
            ids += self._body(piece, encode) if piece else []
        return ids


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    special -= {tokenizer.unk_token_id}
    return {int(i): str(tokenizer.convert_ids_to_tokens(int(i))) for i in special}


def _check_code(tokenizer: Any, template: str) -> None:
    found = _MARIAN_CODE.match(template)
    codes = tokenizer.supported_language_codes
    if found is None or found[1] in codes:
        return
    known = ", ".join(sorted(codes)[:_SHOWN_CODES])
    has = f"it has {known}" if known else "it has none: leave the code out"
    raise PromptInvalid(f"prompt.user: this base has no target language {found[1]}; {has}")
