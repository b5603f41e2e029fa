"""Greedy translations and log-probabilities of a base and what was trained on it.

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
from torch import Tensor
from transformers import DynamicCache
from transformers.utils import logging

from adapters.tokenizer import BaseTokenizer
from training.methods.attach import Adapted
from training.methods.load import Loaded, around, load

# Ended rows are carried along until this share of the batch has ended: leaving copies the cache.
_COMPACT_AT: Final = 0.25


@dataclass(frozen=True)
class Generated:
    """One answer. `token_ids` end with the stop token unless the answer ran into its limit."""

    text: str
    token_ids: tuple[int, ...]
    stopped: bool


# Logits of the next tokens in, (B, V); the tokens out, (B,).
_Choice = Callable[[Tensor], Tensor]


@dataclass
class _Batch:
    """Rows that are still being written; `rows` are their indices in the whole.

    `new` are the ids, or [row, position, hidden] embeddings, that the cache has not seen yet.
    """

    rows: Tensor
    new: Tensor
    mask: Tensor
    cache: DynamicCache


class Generator:
    """A base model with what was trained on it; adapters of one kind share one model."""

    def __init__(self, loaded: Mapping[str | None, Loaded], tokenizer: BaseTokenizer) -> None:
        self._loaded = loaded
        self._tokenizer = tokenizer
        for one in {id(one): one for one in loaded.values()}.values():
            one.model.get_output_embeddings().register_forward_pre_hook(_make_contiguous)

    @classmethod
    def load(cls, base: Path, adapters: Mapping[str, Path] | None = None) -> Generator:
        """Return the model of folder `base` with the folders of any kind, in the base's precision.

        A kind that cannot stand beside another in one model takes the memory of one more base.
        """
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        loaded: dict[str | None, Loaded] = {}
        for name, folder in (adapters or {}).items():
            beside = next((one for one in loaded.values() if one.can_hold(folder)), None)
            if beside is not None:
                beside.add(folder, name)
            loaded[name] = beside or load(base, folder, name)
        loaded[None] = next((one for one in loaded.values() if one.has_base), None) or load(base)
        return cls(loaded, BaseTokenizer.load(base))

    @classmethod
    def around(cls, adapted: Adapted, name: str, tokenizer: BaseTokenizer) -> Generator:
        """Return what generates as adapter `name` with a model in memory, also while it trains."""
        return cls({name: around(adapted)}, tokenizer)

    def generate(  # noqa: PLR0913 - the five are what a batch of prompts needs
        self,
        prompts: Sequence[Sequence[int]],
        *,
        stop_token_ids: Sequence[int],
        max_tokens: Sequence[int],
        adapter: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 64,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generated]:
        """Return answers in the order of the prompts; `adapter` None means the base alone.

        They are greedy, or sampled at `temperature`: the same for the same seed and prompts.
        `max_tokens` holds a limit for each prompt. `on_progress` gets the number of prompts done
        since its last call.
        """
        answers: dict[int, Generated] = {}
        # Longest first: rows of a batch end at about the same step, and memory peaks at once.
        order = sorted(range(len(prompts)), key=lambda i: (max_tokens[i], len(prompts[i])))[::-1]
        with torch.inference_mode(), self._adapter(adapter) as writer:
            if not writer.can_pad(max(map(len, prompts), default=0) + max(max_tokens, default=0)):
                batch_size = 1
            stops = torch.tensor(sorted(set(stop_token_ids)), device=writer.device)
            choose = _choice(temperature, seed, writer.device)
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                limits = torch.tensor([max_tokens[i] for i in rows], device=writer.device)
                texts = writer.decode([list(prompts[i]) for i in rows], stops, limits, choose)
                answers |= {
                    i: self._answer(ids, stop_token_ids) for i, ids in zip(rows, texts, strict=True)
                }
                if on_progress is not None:
                    on_progress(len(rows))
        return [answers[i] for i in range(len(prompts))]

    @property
    def base(self) -> Any:
        """The base's own model."""
        return self._loaded[None].model

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        adapter: str | None = None,
        batch_size: int = 1,
    ) -> list[float]:
        """Return the summed log-probability (natural log) of each target after its prompt.

        Rows are taken as they come: those of one batch should be of about the same length.
        """
        rows = [(list(p), list(t)) for p, t in zip(prompts, targets, strict=True)]
        with torch.inference_mode(), self._adapter(adapter) as writer:
            if not writer.can_pad(max((len(p) + len(t) for p, t in rows), default=0)):
                batch_size = 1
            starts = range(0, len(rows), batch_size)
            return [found for n in starts for found in writer.logprobs(rows[n : n + batch_size])]

    def _answer(self, ids: list[int], stop_token_ids: Sequence[int]) -> Generated:
        stopped = bool(ids) and ids[-1] in stop_token_ids
        text = self._tokenizer.decode(ids[:-1] if stopped else ids)
        return Generated(text, tuple(ids), stopped)

    @contextmanager
    def _adapter(self, name: str | None) -> Iterator[_Writer]:
        if name not in self._loaded:
            raise KeyError(f"adapter {name!r} is not loaded")
        loaded = self._loaded[name]
        with loaded.switched(name):
            yield _Writer(loaded, adapted=name is not None)


class _Writer:
    """One model at work on batches: as its adapter is switched, virtual tokens before each row."""

    def __init__(self, loaded: Loaded, *, adapted: bool) -> None:
        self._loaded = loaded
        self._model = loaded.model
        self._adapted = adapted
        self._prefix = loaded.prefix if adapted else 0
        self._prompt = loaded.prompt if adapted else 0
        pad = self._model.config.get_text_config().pad_token_id
        self._pad = 0 if pad is None else int(pad)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    def can_pad(self, positions: int) -> bool:
        """Whether rows of different length can be decoded together.

        Padding lies between the cache's virtual tokens and the row; a sliding window, which
        counts it, would leave virtual tokens behind too early.
        """
        window = getattr(self._model.config.get_text_config(), "sliding_window", None)
        return not self._prefix or window is None or self._prefix + positions <= int(window)

    def logprobs(self, rows: list[tuple[list[int], list[int]]]) -> list[float]:
        """Return the summed log-probability of each row's target after its prompt."""
        batch = self._start([prompt + target for prompt, target in rows])
        logits_BTV = self._logits(batch, max(len(target) for _, target in rows) + 1)
        return [
            self._sum(logits_TV[-len(target) - 1 : -1], target)
            for logits_TV, (_, target) in zip(logits_BTV, rows, strict=True)
        ]

    def _sum(self, logits_TV: Tensor, target: list[int]) -> float:
        # A row at a time: in float32 those of the whole batch are twice what the model gave.
        scores_TV = torch.log_softmax(logits_TV.float(), -1)
        return float(scores_TV.gather(1, torch.tensor(target, device=self.device)[:, None]).sum())

    def decode(
        self, prompts: list[list[int]], stops: Tensor, limits: Tensor, choose: _Choice
    ) -> list[list[int]]:
        """Return the answers, each up to its limit or a stop token."""
        outputs: list[list[int]] = [[] for _ in prompts]
        batch = self._start(prompts)
        live = torch.ones(len(prompts), dtype=torch.bool, device=stops.device)
        for step in range(1, int(limits.max()) + 1):
            chosen = choose(self._logits(batch, 1)[:, -1])
            for row, token, alive in zip(
                batch.rows.tolist(), chosen.tolist(), live.tolist(), strict=True
            ):
                if alive:
                    outputs[row].append(token)
            live &= ~torch.isin(chosen, stops) & (limits[batch.rows] > step)
            if not bool(live.any()):
                break
            batch.new = chosen[:, None]
            batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(chosen), 1)], 1)
            if live.float().mean() <= 1 - _COMPACT_AT:
                keep = live.nonzero()[:, 0]
                batch.cache.batch_select_indices(keep)
                batch = _Batch(batch.rows[keep], batch.new[keep], batch.mask[keep], batch.cache)
                live = live[keep]
        return outputs

    def _start(self, prompts: list[list[int]]) -> _Batch:
        rows = [[self._pad] * self._prompt + prompt for prompt in prompts]
        width = max(map(len, rows))
        new = torch.tensor([[self._pad] * (width - len(r)) + r for r in rows], device=self.device)
        mask = torch.tensor(
            [[0] * (width - len(r)) + [1] * len(r) for r in rows], device=self.device
        )
        if self._prompt:
            virtual = (mask.cumsum(1) <= self._prompt) & mask.bool()
            new = self._model.get_input_embeddings()(new)
            new[virtual] = self._loaded.embeddings().repeat(len(rows), 1)
        mask = torch.cat([mask.new_ones(len(rows), self._prefix), mask], 1)
        cache = self._loaded.cache(len(rows), virtual=self._adapted)
        return _Batch(torch.arange(len(rows), device=self.device), new, mask, cache)

    def _logits(self, batch: _Batch, keep: int) -> Tensor:
        logits: Tensor = self._model(
            **{"input_ids" if batch.new.dim() == 2 else "inputs_embeds": batch.new},
            attention_mask=batch.mask,
            position_ids=(batch.mask.cumsum(1) - 1).clamp(min=0)[:, -batch.new.shape[1] :],
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits


def _choice(temperature: float, seed: int, device: torch.device) -> _Choice:
    if not temperature:
        return lambda logits_BV: logits_BV.argmax(-1)
    generator = torch.Generator(device).manual_seed(seed)

    def sample(logits_BV: Tensor) -> Tensor:
        probabilities_BV = torch.softmax(logits_BV.float() / temperature, -1)
        return torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]

    return sample


def _make_contiguous(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # The last positions are a slice. For a frozen weight (PEFT freezes the base) torch 2.13 turns
    # the product with a slice into a batched one, and copies the head once for every row: 335 MB
    # a row and step here, 13 GB and 30 times the time for a batch of 32. Of one row a slice counts
    # as contiguous, but has the strides of what it was cut from: only `view` gives it its own.
    hidden = inputs[0].contiguous()
    return (hidden.reshape(-1, hidden.shape[-1]).view(hidden.shape), *inputs[1:])
