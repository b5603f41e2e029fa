"""What one request has used so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Where the ASGI scope's state carries it.
STATE: Final = "dragoman_usage"


@dataclass(slots=True)
class Used:
    """Counted while it runs; times are in seconds, those of its first prompt."""

    characters: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_s: float | None = None
    first_token_s: float | None = None
