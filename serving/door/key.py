"""What a key is: who holds it, what it opens, and how much of it there is."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Literal

from pydantic import Field, field_validator

from adapters.strict.section import Section

PREFIX: Final = "dgm_"
_SECRET_BYTES: Final = 32
_HASH: Final = r"^sha256:[0-9a-f]{64}$"

Priority = Literal["interactive", "bulk"]


class Quota(Section):
    """How much a key may use in one period of UTC; what is not given has no bound."""

    characters: int | None = Field(default=None, ge=1, description="Characters of source text.")
    tokens: int | None = Field(default=None, ge=1, description="Tokens, of prompts and answers.")
    per: Literal["day", "month"] = Field(default="month", description="When it begins anew.")


class Key(Section):
    """One API key. Only its hash is kept: nobody can read the key out of the settings."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="How logs and usage call it."
    )
    hash: str = Field(
        pattern=_HASH,
        repr=False,  # who writes the key itself in its place must not find it in an error
        description="SHA-256 of the key, as `dragoman keys new` prints it.",
    )
    adapters: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="Adapter ids that exist for it, `*` for any part of one, and the base by its "
        "name; all, if not given.",
        examples=["[shop-en-fr, k8s-*]"],
    )
    admin: bool = Field(
        default=False, description="Whether it opens /metrics, and everybody's usage."
    )
    priority: Priority = Field(
        default="interactive", description="bulk is served after interactive, and shed before it."
    )
    weight: float = Field(
        default=1.0, gt=0, le=1e6, description="Share under load, relative to the others' 1."
    )
    quota: Quota = Field(default_factory=Quota)
    requests_per_minute: int | None = Field(default=None, ge=1, description="Mean rate.")
    characters_per_minute: int | None = Field(default=None, ge=1, description="Mean rate.")
    concurrency: int | None = Field(default=None, ge=1, description="Requests at a time.")

    @field_validator("weight", mode="before")
    @classmethod
    def _whole_numbers_too(cls, weight: object) -> object:
        return float(weight) if type(weight) is int else weight


def hash_of(secret: str) -> str:
    """Return what is kept of a key.

    Unsalted SHA-256: a key of ours has 256 random bits, so there is nothing to guess, and a slow
    hash would be paid at each request (NIST SP 800-63B asks for one with memorized secrets only).
    """
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """Return a new key: 256 random bits behind a prefix that secret scanners can look for."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
