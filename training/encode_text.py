"""Plain text as token ids: every token is to be learnt, none is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adapters.prompt import PromptFormat
from adapters.tokenizer import Tokenizer
from training.encode import Encoded, EncodeReport


@dataclass(frozen=True)
class TextPacker:
    """Turns texts into rows of at most `max_length` ids, without a prompt.

    A text is BOS, its ids, and what the base ends a text with. Rows hold whole texts as long as
    they fit; a text that is longer than a row is cut, and goes on in the next.
    """

    prompt: PromptFormat
    tokenizer: Tokenizer
    max_length: int

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of one text with its begin and end."""
        end = self.tokenizer.encode_markup(self.prompt.eos_token)
        return [
            *self.tokenizer.encode_markup(self.prompt.bos_token),
            *self.tokenizer.encode_text(text),
            *(end or self.prompt.stop_token_ids[:1]),
        ]

    def pack(self, texts: Iterable[str]) -> tuple[list[Encoded], EncodeReport]:
        """Return the rows, whose ids in their order are those of all texts, and their count."""
        rows = [Encoded((), tuple(ids)) for ids in self._rows(texts)]
        return rows, EncodeReport(
            kept=len(rows),
            too_long=0,
            prompt_tokens=0,
            target_tokens=sum(map(len, rows)),
            longest=max(map(len, rows), default=0),
        )

    def _rows(self, texts: Iterable[str]) -> Iterator[list[int]]:
        row: list[int] = []
        for text in texts:
            ids = self.text_ids(text)
            if row and len(row) + len(ids) > self.max_length:
                yield row
                row = []
            row += ids
            while len(row) > self.max_length:
                yield row[: self.max_length]
                row = row[self.max_length :]
        if row:
            yield row
