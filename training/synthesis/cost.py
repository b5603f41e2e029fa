"""Cost: what the answers took, in requests, tokens, characters, seconds and money."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from training.synthesis.translator import Answer, Job

_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Of a million tokens, in whatever currency."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass
class Cost:
    """Of the answers that were added; requests that were made again count."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0

    def add(self, job: Job, answer: Answer) -> None:
        """Count one answer; `characters` are those of the text that was sent."""
        self.requests += answer.requests
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.characters += len(job.text)

    def to_json(self, price: Price | None = None) -> dict[str, Any]:
        """Return plain JSON values, with `price` the money."""
        body = {**asdict(self), "seconds": round(self.seconds, 1)}
        if price is None:
            return body
        tokens = self.prompt_tokens * price.prompt + self.completion_tokens * price.completion
        return {**body, "money": round(tokens / _MILLION, 6)}
