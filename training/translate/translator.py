"""Translator: texts in, translations out, whatever runs the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from adapters.ids import LanguagePair
from adapters.manifest import Decoding
from adapters.prompt import PromptFormat
from adapters.tokenizer import BaseTokenizer

if TYPE_CHECKING:
    from training.evaluate.generate import Generated
    from training.seq2seq.tokenizer import PairTokenizer

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Decoder:
    """How many beams, and how many texts at a time."""

    beams: int = 1
    batch_size: int = 32


class Translator(Protocol):
    """Translates texts of one pair."""

    @property
    def pair(self) -> LanguagePair:
        """What it translates from and to."""
        ...

    def translate(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> list[Generated]:
        """Return the translations in the order of the texts. Raises RequestInvalid."""
        ...


@dataclass(frozen=True)
class PairTranslator:
    """A sequence-to-sequence model; `generator` is PairGenerator or PairRunner."""

    pair: LanguagePair
    generator: Any
    tokenizer: PairTokenizer
    decoding: Decoding
    decoder: Decoder

    def translate(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> list[Generated]:
        """Return the translations in the order of the texts. Raises RequestInvalid."""
        lengths = [len(self.tokenizer.encode_text(text)) for text in texts]
        answers: list[Generated] = self.generator.generate(
            texts,
            max_tokens=[self.decoding.max_tokens(length) for length in lengths],
            beams=self.decoder.beams,
            batch_size=self.decoder.batch_size,
            on_progress=on_progress,
        )
        return answers


@dataclass(frozen=True)
class CausalTranslator:
    """A causal model, asked by a prompt; `generator` is Generator or TextRunner, both greedy."""

    pair: LanguagePair
    generator: Any
    tokenizer: BaseTokenizer
    prompt: PromptFormat
    decoding: Decoding
    decoder: Decoder
    adapter: str | None = None

    def translate(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> list[Generated]:
        """Return the translations in the order of the texts. Raises RequestInvalid."""
        lengths = [len(self.tokenizer.encode_text(text)) for text in texts]
        answers: list[Generated] = self.generator.generate(
            [self.prompt.encode(text, self.pair, self.tokenizer) for text in texts],
            stop_token_ids=self.prompt.stop_token_ids,
            max_tokens=[self.decoding.max_tokens(length) for length in lengths],
            adapter=self.adapter,
            batch_size=self.decoder.batch_size,
            on_progress=on_progress,
        )
        return answers
