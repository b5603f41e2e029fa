"""How much a run computes: tokens, passes and floating point operations. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.encode import Encoded
from training.fit.schedule import Schedule
from training.methods.config import FullMethod, Method
from training.plan.counts import Counts
from training.plan.memory import Pass


@dataclass(frozen=True)
class Work:
    """What the encoded text makes of a schedule; tokens, labels and positions are of an epoch.

    `positions` go through the model: tokens and the padding beside them.
    """

    pairs: int
    too_long: int
    tokens: int
    labels: int
    positions: int
    longest: int
    steps: int
    epochs: float  # as far as max_steps lets it come
    largest: Pass

    @property
    def padding(self) -> float:
        """The share of positions that is padding."""
        return 1 - self.tokens / self.positions


def work_of(rows: Sequence[Encoded], too_long: int, schedule: Schedule, *, seed: int) -> Work:
    """Return the work of a run over `rows`, batch by batch as the trainer will make them."""
    from training.fit.batches import LengthGrouped

    order = list(LengthGrouped([len(r) for r in rows], schedule.batch_size, seed=seed))
    size, steps = schedule.batch_size, schedule.steps(len(rows))
    batches = [[rows[i] for i in order[s : s + size]] for s in range(0, len(order), size)]
    epoch = schedule.rows_per_step / len(rows)
    # A run that ends early may never meet the largest pass; one of an epoch meets all of them.
    met = batches[: steps * schedule.gradient_accumulation]
    return Work(
        pairs=len(rows),
        too_long=too_long,
        tokens=sum(map(len, rows)),
        labels=sum(len(row.target_ids) for row in rows),
        positions=sum(len(batch) * max(map(len, batch)) for batch in batches),
        longest=max(map(len, rows)),
        steps=steps,
        epochs=min(schedule.epochs, steps * epoch),
        largest=_largest(met, schedule),
    )


def flop(counts: Counts, method: Method, schedule: Schedule, work: Work, *, gpu: bool) -> float:
    """Return the floating point operations of an epoch; attention's own scores are left out.

    Two for each weight and position on the way forward, two on the way back, two more where the
    weight itself is trained, and the way forward once more under gradient checkpointing.
    """
    full = isinstance(method, FullMethod)
    ways = 4 + 2 * schedule.gradient_checkpointing
    body = ways * counts.linear + 2 * counts.trainable
    body += 0 if full else ways * counts.trainable
    scored = work.positions if gpu else work.labels
    return float(work.positions * body + scored * 4 * counts.shape.vocabulary * counts.shape.hidden)


def _largest(batches: Sequence[Sequence[Encoded]], schedule: Schedule) -> Pass:
    tokens, labels = 0, 0
    for batch in batches:
        width = max(map(len, batch))
        rows = max(1, schedule.tokens_per_pass // width)
        for start in range(0, len(batch), rows):
            part = batch[start : start + rows]
            tokens = max(tokens, width * len(part))
            labels = max(labels, sum(len(row.target_ids) for row in part))
    return Pass(tokens, labels)
