"""Greedy translations and log-probabilities, with the base and its adapters in one model.

For measuring, not for serving: no server to start, a batch of segments at a time. Rows that have
ended leave the batch, and the head sees the last position only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging

from adapters.tokenizer import BaseTokenizer

# Ended rows are carried along until this share of the batch has ended: leaving copies the cache.
_COMPACT_AT: Final = 0.25


@dataclass(frozen=True)
class Generated:
    """One answer. `token_ids` end with the stop token unless the answer ran into its limit."""

    text: str
    token_ids: tuple[int, ...]
    stopped: bool


@dataclass
class _Batch:
    """Rows that are still being written; `rows` are their indices in the whole."""

    rows: Tensor
    ids: Tensor
    mask: Tensor
    cache: DynamicCache


class Generator:
    """A base model with any number of adapters, loaded once."""

    def __init__(self, model: Any, tokenizer: BaseTokenizer, *, pad: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._pad = pad

    @classmethod
    def load(cls, base: Path, adapters: Mapping[str, Path] | None = None) -> Generator:
        """Return the model of folder `base` with the adapters, in the base's precision."""
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True)
        if torch.cuda.is_available():
            model = model.to("cuda")
        for name, folder in (adapters or {}).items():
            # No upcast to float32: an adapter computes here as it does when it is served.
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), name, autocast_adapter_dtype=False)
            else:
                model = PeftModel.from_pretrained(
                    model, str(folder), name, autocast_adapter_dtype=False
                )
        return cls.around(model.eval(), BaseTokenizer.load(base))

    @classmethod
    def around(cls, model: Any, tokenizer: BaseTokenizer) -> Generator:
        """Return what generates with `model` as it is, also one that is being trained."""
        pad = model.config.get_text_config().pad_token_id
        model.get_output_embeddings().register_forward_pre_hook(_make_contiguous)
        return cls(model, tokenizer, pad=0 if pad is None else int(pad))

    def generate(  # noqa: PLR0913 - the five are what a batch of prompts needs
        self,
        prompts: Sequence[Sequence[int]],
        *,
        stop_token_ids: Sequence[int],
        max_tokens: Sequence[int],
        adapter: str | None = None,
        batch_size: int = 64,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generated]:
        """Return greedy answers in the order of the prompts; `adapter` None means the base alone.

        `max_tokens` holds a limit for each prompt. `on_progress` gets the number of prompts done
        since its last call.
        """
        answers: dict[int, Generated] = {}
        # Longest first: rows of a batch end at about the same step, and memory peaks at once.
        order = sorted(range(len(prompts)), key=lambda i: (max_tokens[i], len(prompts[i])))[::-1]
        stops = torch.tensor(sorted(set(stop_token_ids)), device=self._model.device)
        with torch.inference_mode(), self._adapter(adapter):
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                limits = torch.tensor([max_tokens[i] for i in rows], device=self._model.device)
                texts = self._decode([list(prompts[i]) for i in rows], stops, limits)
                answers |= {
                    i: self._answer(ids, stop_token_ids) for i, ids in zip(rows, texts, strict=True)
                }
                if on_progress is not None:
                    on_progress(len(rows))
        return [answers[i] for i in range(len(prompts))]

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        adapter: str | None = None,
    ) -> list[float]:
        """Return the summed log-probability (natural log) of each target after its prompt."""
        with torch.inference_mode(), self._adapter(adapter):
            return [
                self._logprob(list(prompt), list(target))
                for prompt, target in zip(prompts, targets, strict=True)
            ]

    def _logprob(self, prompt: list[int], target: list[int]) -> float:
        ids = torch.tensor([prompt + target], device=self._model.device)
        keep = len(target) + 1
        logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0, :-1]
        scores = torch.log_softmax(logits.float(), -1)
        return float(scores.gather(1, ids[0, -len(target) :, None]).sum())

    def _answer(self, ids: list[int], stop_token_ids: Sequence[int]) -> Generated:
        stopped = bool(ids) and ids[-1] in stop_token_ids
        text = self._tokenizer.decode(ids[:-1] if stopped else ids)
        return Generated(text, tuple(ids), stopped)

    def _decode(self, prompts: list[list[int]], stops: Tensor, limits: Tensor) -> list[list[int]]:
        outputs: list[list[int]] = [[] for _ in prompts]
        batch = self._start(prompts)
        live = torch.ones(len(prompts), dtype=torch.bool, device=stops.device)
        for step in range(1, int(limits.max()) + 1):
            chosen = self._next(batch)
            for row, token, alive in zip(
                batch.rows.tolist(), chosen.tolist(), live.tolist(), strict=True
            ):
                if alive:
                    outputs[row].append(token)
            live &= ~torch.isin(chosen, stops) & (limits[batch.rows] > step)
            if not bool(live.any()):
                break
            batch.ids = chosen[:, None]
            batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(chosen), 1)], 1)
            if live.float().mean() <= 1 - _COMPACT_AT:
                keep = live.nonzero()[:, 0]
                batch.cache.batch_select_indices(keep)
                batch = _Batch(batch.rows[keep], batch.ids[keep], batch.mask[keep], batch.cache)
                live = live[keep]
        return outputs

    def _start(self, prompts: list[list[int]]) -> _Batch:
        device, width = self._model.device, max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(p)) + p for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        cache = DynamicCache(config=self._model.config)
        return _Batch(torch.arange(len(prompts), device=device), ids, mask, cache)

    def _next(self, batch: _Batch) -> Tensor:
        positions = (batch.mask.cumsum(1) - 1).clamp(min=0)[:, -batch.ids.shape[1] :]
        output = self._model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=positions,
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        best: Tensor = output.logits[:, -1].argmax(-1)
        return best

    @contextmanager
    def _adapter(self, name: str | None) -> Iterator[None]:
        if not isinstance(self._model, PeftModel):
            if name is not None:
                raise KeyError(f"adapter {name!r} is not loaded")
            yield
        elif name is None:
            with self._model.disable_adapter():
                yield
        else:
            if self._model.active_adapter != name:
                self._model.set_adapter(name)
            yield


def _make_contiguous(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # The last position is a slice. For a frozen weight (PEFT freezes the base) torch 2.13 turns
    # the product with a slice into a batched one, and copies the head once for every row: 335 MB
    # a row and step here, 13 GB and 30 times the time for a batch of 32.
    return (inputs[0].contiguous(), *inputs[1:])
