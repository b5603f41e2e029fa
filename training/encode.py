"""Segments as token ids: the adapter's own prompt, then the translation that is to be learnt.

PromptFormat renders both, so the ids that training sees are the ids that the server sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from adapters.errors import DragomanError
from adapters.ids import LanguagePair
from adapters.prompt import Example, PromptFormat
from adapters.tokenizer import Tokenizer
from training.corpus.shown import Shown

IGNORED: Final = -100  # torch's label for positions that no loss is taken at


class SegmentPair(Protocol):
    """A source text and its translation, and their languages if not the encoder's."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def pair(self) -> LanguagePair | None: ...


class SegmentTooLong(DragomanError):
    """A pair that does not fit: dropped whole, since a cut target teaches omission."""

    code = "segment_too_long"


@dataclass(frozen=True)
class Encoded:
    """One training example as ids."""

    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]  # ends with the stop token

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.target_ids)

    @property
    def input_ids(self) -> list[int]:
        """Prompt and target in one row."""
        return [*self.prompt_ids, *self.target_ids]

    @property
    def labels(self) -> list[int]:
        """What each position should be predicted as: the target's ids, IGNORED on the prompt."""
        return [IGNORED] * len(self.prompt_ids) + list(self.target_ids)


@dataclass(frozen=True)
class EncodeReport:
    """What became of the pairs. Tokens are of the kept ones."""

    kept: int
    too_long: int
    prompt_tokens: int
    target_tokens: int
    longest: int


@dataclass(frozen=True)
class Encoder:
    """Turns pairs into ids of one prompt format; `pair` is theirs where they say none."""

    prompt: PromptFormat
    pair: LanguagePair
    tokenizer: Tokenizer
    max_length: int

    def encode(self, pair: SegmentPair) -> Encoded:
        """Return prompt and target ids. Raises SegmentTooLong: never truncates.

        Examples for which there is no room are left out, the least similar first.
        """
        examples = pair.examples if isinstance(pair, Shown) else ()
        shown = tuple(filter(self._is_plain, examples))
        while len(encoded := self._encode(pair, shown)) > self.max_length:
            if not shown:
                raise SegmentTooLong(
                    f"{pair.source[:60]!r}: {len(encoded)} tokens of prompt and translation, "
                    f"at most {self.max_length}; raise schedule.max_length to keep it"
                )
            shown = shown[1:]
        return encoded

    def _encode(self, pair: SegmentPair, shown: tuple[Example, ...]) -> Encoded:
        prompt = self.prompt.showing(shown)
        return Encoded(
            tuple(prompt.encode(pair.source, pair.pair or self.pair, self.tokenizer)),
            tuple(prompt.encode_target(pair.target, self.tokenizer)),
        )

    def _is_plain(self, example: Example) -> bool:
        # Prompts read examples as markup: a control token of the text would end its turn.
        texts, tokenizer = (example.source, example.target), self.tokenizer
        return all(tokenizer.encode_markup(t) == tokenizer.encode_text(t) for t in texts)

    def encode_all(self, pairs: Iterable[SegmentPair]) -> tuple[list[Encoded], EncodeReport]:
        """Return the pairs that fit, in their order, and the count of those that do not."""
        kept: list[Encoded] = []
        too_long = 0
        for pair in pairs:
            try:
                kept.append(self.encode(pair))
            except SegmentTooLong:
                too_long += 1
        return kept, EncodeReport(
            kept=len(kept),
            too_long=too_long,
            prompt_tokens=sum(len(e.prompt_ids) for e in kept),
            target_tokens=sum(len(e.target_ids) for e in kept),
            longest=max(map(len, kept), default=0),
        )
