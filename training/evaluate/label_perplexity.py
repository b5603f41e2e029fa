"""Perplexity of translations: how unsure a causal model is of a target after its prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from adapters.errors import DataInvalid
from training.encode import Encoded
from training.score.batches import batches

_BATCH: Final = 32


class LogProbs(Protocol):
    """What tells the log-probability of texts; `training.evaluate.generate.Generator` does."""

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        adapter: str | None = None,
        batch_size: int = 1,
    ) -> list[float]:
        """Return the summed log-probability (nats) of each target after its prompt."""


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-probability (nats) of `tokens` label tokens; lower is better.

    Only models that share a tokenizer can be compared.
    """

    value: float
    tokens: int
    signature: str


def label_perplexity(
    generator: LogProbs,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    adapter: str | None,
    batch_size: int = _BATCH,
) -> Perplexity:
    """Return the perplexity of the targets of (prompt ids, target ids) rows.

    Prompts are given, not counted: a long prompt would hide what the targets cost. `adapter` None
    is the base alone. Raises DataInvalid if there is no target token at all.
    """
    tokens = sum(len(target) for _, target in rows)
    if not tokens:
        raise DataInvalid(
            f"perplexity of {len(rows)} rows: none has a target token; give rows with translations"
        )
    total = math.fsum(label_logprobs(generator, rows, adapter=adapter, batch_size=batch_size))
    return Perplexity(
        value=math.exp(-total / tokens),
        tokens=tokens,
        signature=f"per:label-token-of-base|tokens:{tokens}|rows:{len(rows)}|prompt:given",
    )


def label_logprobs(
    generator: LogProbs,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    adapter: str | None,
    batch_size: int = _BATCH,
) -> list[float]:
    """Return the summed log-probability (nats) of each row's target, in order; 0 of an empty one.

    Rows of about the same length go through the model together, at most `batch_size` of them.
    """
    encoded = {n: Encoded(tuple(p), tuple(t)) for n, (p, t) in enumerate(rows) if t}
    found = [0.0] * len(rows)
    for batch in batches(encoded, size=batch_size):
        sums = generator.logprobs(
            [encoded[n].prompt_ids for n in batch],
            [encoded[n].target_ids for n in batch],
            adapter=adapter,
            batch_size=len(batch),
        )
        for n, value in zip(batch, sums, strict=True):
            found[n] = value
    return found
