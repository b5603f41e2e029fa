"""Translations by a sequence-to-sequence base or what was trained on it. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import GenerationConfig

from adapters.errors import RequestInvalid
from adapters.manifest import CONFIG_FILE
from training.evaluate.generate import Generated
from training.methods.load import kind_of, load_bottlenecks
from training.methods.save import BOTTLENECK
from training.seq2seq.load import load_pair_model, positions_of
from training.seq2seq.tokenizer import PairTokenizer


class PairGenerator:
    """A base, or what was trained on it, loaded once."""

    def __init__(self, model: Any, tokenizer: PairTokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._positions = positions_of(model.config)

    @classmethod
    def load(
        cls, base: Path, tokenizer: PairTokenizer, trained: Path | None = None
    ) -> PairGenerator:
        """Return the model of folder `base` with what was trained, in the base's precision.

        `trained` is an adapter's folder or a whole model's; None means the base alone.
        """
        whole = trained if trained is not None and is_whole_model(trained) else None
        model = load_pair_model(whole or base)
        # What ours leaves open transformers takes from the base's own, which ends every answer at
        # its limit with the end token, and asks for six beams (Marian): six times the time.
        model.generation_config = GenerationConfig()
        if torch.cuda.is_available():
            model = model.to("cuda")
        if trained is not None and whole is None:
            if kind_of(trained) == BOTTLENECK:
                load_bottlenecks(model, trained)
            else:
                model = PeftModel.from_pretrained(model, str(trained), autocast_adapter_dtype=False)
        return cls(model.eval(), tokenizer)

    def generate(
        self,
        sources: Sequence[str],
        *,
        max_tokens: Sequence[int],
        beams: int = 1,
        batch_size: int = 32,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generated]:
        """Return the translations in the order of `sources`; greedy with one beam.

        `max_tokens` holds a limit for each source. Raises RequestInvalid for a source that is
        longer than the base reads.
        """
        rows = [self._tokenizer.encode_source(source) for source in sources]
        for source, row in zip(sources, rows, strict=True):
            check_fits(source, row, self._positions)
        answers: dict[int, Generated] = {}
        order = sorted(range(len(rows)), key=lambda i: (max_tokens[i], len(rows[i])))[::-1]
        with torch.inference_mode():
            for begin in range(0, len(order), batch_size):
                chosen = order[begin : begin + batch_size]
                config = self._config(max_tokens[chosen[0]], beams)
                written = self._decode([rows[i] for i in chosen], config)
                for i, ids in zip(chosen, written, strict=True):
                    answers[i] = answer_of(ids, max_tokens[i], self._tokenizer)
                if on_progress is not None:
                    on_progress(len(chosen))
        return [answers[i] for i in range(len(rows))]

    def _decode(self, rows: list[list[int]], config: GenerationConfig) -> list[list[int]]:
        pad, device = self._tokenizer.pad, self._model.device
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = (torch.arange(width, device=device) < lengths[:, None]).long()
        output: Tensor = self._model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config
        )
        return [row[1:] for row in output.tolist()]  # without what the decoder starts from

    def _config(self, limit: int, beams: int) -> GenerationConfig:
        tokenizer = self._tokenizer
        if self._positions is not None:
            limit = min(limit, self._positions - 1)
        return GenerationConfig(
            max_new_tokens=limit,
            num_beams=beams,
            do_sample=False,
            pad_token_id=tokenizer.pad,
            eos_token_id=tokenizer.eos,
            decoder_start_token_id=tokenizer.start,
            forced_bos_token_id=tokenizer.forced_bos,
            suppress_tokens=tokenizer.never_written,
            early_stopping=False,
        )


def is_whole_model(folder: Path) -> bool:
    """Whether what was trained is a model of its own, no adapter."""
    return not (folder / CONFIG_FILE).is_file()


def answer_of(ids: Sequence[int], limit: int, tokenizer: PairTokenizer) -> Generated:
    """Return the answer in `ids`, which may go on after its end and its limit."""
    written = list(ids[:limit])
    stopped = tokenizer.eos in written
    if stopped:
        written = written[: written.index(tokenizer.eos) + 1]
    return Generated(tokenizer.decode(written), tuple(written), stopped)


def check_fits(source: str, ids: Sequence[int], positions: int | None) -> None:
    """Raise RequestInvalid for a source of more tokens than the base has positions."""
    if positions is not None and len(ids) > positions:
        raise RequestInvalid(
            f"{source[:60]!r}…: {len(ids)} tokens, and this base reads at most {positions}; "
            "split the text into sentences"
        )
