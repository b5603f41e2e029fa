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
# So many tokens and their log-probabilities tell versions apart where their answers are the same.
CANDIDATES: Final = 20


@dataclass(frozen=True)
class Answer:
    """A greedy answer: its tokens, and at each place the best candidates' log-probabilities."""

    token_ids: tuple[int, ...]
    candidates: tuple[Mapping[str, float], ...]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Answer:
        """Return the answer of a completion with token ids and CANDIDATES log-probabilities."""
        (choice,) = body["choices"]
        return cls(tuple(choice["token_ids"]), tuple(choice["logprobs"]["top_logprobs"]))


def drift(answer: Answer, reference: Answer) -> float:
    """Return how far an answer strays from the reference; inf if its length differs.

    At each place: the mean difference of the log-probabilities of the reference's candidates. The
    largest of all places up to the first other token; what follows answers another text.
    """
    if len(answer.token_ids) != len(reference.token_ids):
        return float("inf")
    largest = 0.0
    for place, (found, wanted) in enumerate(
        zip(answer.candidates, reference.candidates, strict=True)
    ):
        if answer.token_ids[:place] != reference.token_ids[:place]:
            break
        largest = max(largest, _distance(found, wanted))
    return largest


def _distance(found: Mapping[str, float], wanted: Mapping[str, float]) -> float:
    # A candidate that is not among the found ones is less probable than all of them.
    least = min(found.values())
    apart = [abs(found[t] - p) if t in found else max(0.0, p - least) for t, p in wanted.items()]
    return sum(apart) / len(apart)


def agrees(answer: Answer, reference: Answer, tolerance: float) -> bool:
    """Return whether the answer is the reference's within `tolerance` (log-probability)."""
    return drift(answer, reference) <= tolerance


def tolerance_of(pairs: Iterable[tuple[Answer, Answer]]) -> float:
    """Return twice the largest drift that batching alone caused.

    pairs are (answer in a batch, answer alone) of one version, on a server where nothing changes.
    """
    return _MARGIN * max(drift(batched, alone) for batched, alone in pairs)


def mistaken(
    references: Mapping[tuple[str, int], Answer], tolerance: float
) -> list[tuple[str, str, int]]:
    """Return who would be taken for whom: (version, other version, prompt) that agree.

    As good as nobody, or the check proves nothing.
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
    """Return how far each answer is from the nearest other version's."""
    items = [*references.items()]
    nearest = []
    for (version, prompt), answer in items:
        nearest.append(
            min(
                drift(answer, other)
                for (name, asked), other in items
                if asked == prompt and name != version
            )
        )
    return nearest
