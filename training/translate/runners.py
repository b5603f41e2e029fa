"""CTranslate2 in the place of the generators that run on torch: the same questions and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ctranslate2

from adapters.errors import FileCorrupt
from adapters.tokenizer import BaseTokenizer
from training.evaluate.generate import Generated
from training.seq2seq.generate import answer_of, check_fits
from training.seq2seq.tokenizer import PairTokenizer

OnProgress = Callable[[int], None]
# CTranslate2 cuts longer sources in silence; 0 leaves them whole, and check_fits refuses them.
_WHOLE = 0


class PairRunner:
    """A converted sequence-to-sequence model."""

    def __init__(self, folder: Path, tokenizer: PairTokenizer, positions: int | None) -> None:
        self._translator = ctranslate2.Translator(str(folder), device="auto")
        self._tokenizer = tokenizer
        self._positions = positions
        self._source = _vocabulary(folder, "source")
        self._target = _vocabulary(folder, "target")
        self._ids = _ids(self._target)

    def generate(
        self,
        sources: Sequence[str],
        *,
        max_tokens: Sequence[int],
        beams: int = 1,
        batch_size: int = 32,
        on_progress: OnProgress | None = None,
    ) -> list[Generated]:
        """Return the translations in the order of `sources`; greedy with one beam."""
        rows = [self._tokenizer.encode_source(source) for source in sources]
        for source, row in zip(sources, rows, strict=True):
            check_fits(source, row, self._positions)
        answers: dict[int, Generated] = {}
        for chosen in _batches(rows, max_tokens, batch_size):
            results = self._translator.translate_batch(
                [[self._source[i] for i in rows[n]] for n in chosen],
                target_prefix=self._prefix(len(chosen)),
                beam_size=beams,
                max_input_length=_WHOLE,
                max_decoding_length=self._limit(max_tokens[chosen[0]]),
                return_end_token=True,
            )
            for n, result in zip(chosen, results, strict=True):
                ids = [self._ids[token] for token in result.hypotheses[0]]
                answers[n] = answer_of(ids, max_tokens[n], self._tokenizer)
            if on_progress is not None:
                on_progress(len(chosen))
        return [answers[n] for n in range(len(rows))]

    def _prefix(self, rows: int) -> list[list[str] | None] | None:
        first = self._tokenizer.forced_bos
        return None if first is None else [[self._target[first]]] * rows

    def _limit(self, limit: int) -> int:
        return limit if self._positions is None else min(limit, self._positions - 1)


class TextRunner:
    """A converted causal model."""

    def __init__(self, folder: Path, tokenizer: BaseTokenizer) -> None:
        self._generator = ctranslate2.Generator(str(folder), device="auto")
        self._tokenizer = tokenizer
        self._words = _vocabulary(folder, "")

    def generate(  # noqa: PLR0913 - the same as Generator's
        self,
        prompts: Sequence[Sequence[int]],
        *,
        stop_token_ids: Sequence[int],
        max_tokens: Sequence[int],
        adapter: None = None,
        batch_size: int = 64,
        on_progress: OnProgress | None = None,
    ) -> list[Generated]:
        """Return greedy answers in the order of the prompts."""
        answers: dict[int, Generated] = {}
        for chosen in _batches(prompts, max_tokens, batch_size):
            results = self._generator.generate_batch(
                [[self._words[i] for i in prompts[n]] for n in chosen],
                max_length=max_tokens[chosen[0]],
                end_token=list(stop_token_ids),
                return_end_token=True,
                include_prompt_in_result=False,
            )
            for n, result in zip(chosen, results, strict=True):
                ids = list(result.sequences_ids[0])[: max_tokens[n]]
                stopped = bool(ids) and ids[-1] in stop_token_ids
                text = self._tokenizer.decode(ids[:-1] if stopped else ids)
                answers[n] = Generated(text, tuple(ids), stopped)
            if on_progress is not None:
                on_progress(len(chosen))
        return [answers[n] for n in range(len(prompts))]


def _batches(
    rows: Sequence[Sequence[int]], max_tokens: Sequence[int], size: int
) -> Iterator[list[int]]:
    """Yield indices of at most `size` rows of like length; the first of each has the most."""
    order = sorted(range(len(rows)), key=lambda i: (max_tokens[i], len(rows[i])))[::-1]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _vocabulary(folder: Path, side: str) -> list[str]:
    for name in (f"{side}_vocabulary.json", "shared_vocabulary.json", "vocabulary.json"):
        path = folder / name
        if path.is_file():
            return list(map(str, json.loads(path.read_text(encoding="utf-8"))))
    raise FileCorrupt(f"{folder}: no vocabulary beside the model; export it again")


def _ids(words: Sequence[str]) -> dict[str, int]:
    # Padding words of the converter may repeat real ones; the first is the real one.
    found: dict[str, int] = {}
    for number, word in enumerate(words):
        found.setdefault(word, number)
    return found
