"""Whether an answer is the one that its adapter version gives when it is asked alone.

Rows of a batch are computed together, so that bf16 rounding moves log-probabilities a little. How
much is measured first, on a server on which nothing changes; beyond that an answer is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# Ten thousand answers stray further than the hundreds that the tolerance is measured on.
_MARGIN: Final = 2.0


@dataclass(frozen=True)
class Answer:
    """A greedy answer: its tokens, and at each place the log-probabilities of the best two."""

    token_ids: tuple[int, ...]
    best: tuple[float, ...]
    second: tuple[float, ...]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Answer:
        """Return the answer of a completion that was asked for token ids and two logprobs."""
        (choice,) = body["choices"]
        found = choice["logprobs"]
        seconds = [sorted(top.values(), reverse=True)[1] for top in found["top_logprobs"]]
        return cls(tuple(choice["token_ids"]), tuple(found["token_logprobs"]), tuple(seconds))

    def gap(self, place: int) -> float:
        """Return by how much the first candidate led at that place."""
        return self.best[place] - self.second[place]


@dataclass(frozen=True)
class Difference:
    """How an answer differs from another: up to `place` the tokens are the same."""

    place: int | None  # of the first other token; None: there is none
    drift: float  # largest difference of log-probabilities over the tokens that are the same
    gap: float  # by how much the reference's token led where the other answer took another


def difference(answer: Answer, reference: Answer) -> Difference:
    """Compare an answer with the reference; after the first other token nothing compares."""
    drift = 0.0
    for place, (token, expected) in enumerate(
        zip(answer.token_ids, reference.token_ids, strict=False)
    ):
        if token != expected:
            return Difference(place, drift, reference.gap(place))
        drift = max(drift, abs(answer.best[place] - reference.best[place]))
    same_length = len(answer.token_ids) == len(reference.token_ids)
    return Difference(None, drift, 0.0 if same_length else float("inf"))


def agrees(answer: Answer, reference: Answer, tolerance: float) -> bool:
    """Return whether the answer is the reference's within `tolerance` (log-probability).

    Another token is allowed only where the reference's own lead was within the tolerance.
    """
    found = difference(answer, reference)
    return found.drift <= tolerance and found.gap <= tolerance


def tolerance_of(pairs: Iterable[tuple[Answer, Answer]]) -> float:
    """Return twice the largest drift that batching alone caused; a token that flipped counts, too.

    pairs are (answer in a batch, answer alone) of one version, on a server where nothing changes.
    """
    found = [difference(batched, alone) for batched, alone in pairs]
    return _MARGIN * max(max(d.drift, d.gap) for d in found)


def mistaken(
    references: Mapping[tuple[str, int], Answer], tolerance: float
) -> list[tuple[str, str, int]]:
    """Return who would be taken for whom: (version, other version, prompt) that agree.

    Nobody, or the check proves nothing.
    """
    by_prompt: dict[int, list[tuple[str, Answer]]] = {}
    for (version, prompt), answer in references.items():
        by_prompt.setdefault(prompt, []).append((version, answer))
    return [
        (version, other, prompt)
        for prompt, answers in by_prompt.items()
        for version, answer in answers
        for other, reference in answers
        if version != other and agrees(answer, reference, tolerance)
    ]


def distances(references: Mapping[tuple[str, int], Answer]) -> Sequence[float]:
    """Return how far each answer's first log-probabilities are from the nearest other version's."""
    items = [*references.items()]
    nearest = []
    for (version, prompt), answer in items:
        found = [
            difference(answer, other)
            for (name, asked), other in items
            if asked == prompt and name != version
        ]
        nearest.append(min(max(d.drift, d.gap) for d in found))
    return nearest
