"""What one request may ask for, and how much work the server takes on."""

from __future__ import annotations

from pydantic import Field

from adapters.strict.section import Section


class Limits(Section):
    """Bounds of every request, whoever sends it."""

    body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest body.")
    body_s: float = Field(
        default=30.0,
        gt=0,
        strict=False,
        description="Longest time that a client may keep its connection waiting: for a request's "
        "head, for its body, or to be read.",
    )
    segments: int = Field(default=64, ge=1, description="Texts in one request.")
    choices: int = Field(default=8, ge=1, description="`n` and `best_of`.")
    logprobs: int = Field(default=20, ge=0, description="`logprobs`, `top_logprobs` and such.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer asked for; max_model_len bounds it anyway."
    )
    deadline_s: float = Field(
        default=300.0, gt=0, strict=False, description="Longest time from request to last token."
    )
    backlog_s: float = Field(
        default=30.0,
        gt=0,
        strict=False,
        description="Work that is taken on, in seconds that it will take; the rest is told when "
        "to come back.",
    )
