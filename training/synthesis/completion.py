"""A chat completion as servers answer it, read as a translation."""

from __future__ import annotations

import math

from pydantic import BaseModel, ValidationError

from training.synthesis.translator import Answer, Fault


class _Token(BaseModel):
    logprob: float | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


def read_completion(body: bytes) -> Answer | None:
    """Return the answer in the body of a 200; None if it holds no completion."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        return None
    if not completion.choices:
        return None
    choice, usage = completion.choices[0], completion.usage or _Usage()
    text = choice.message.content
    cut = Fault.CUT if choice.finish_reason == "length" else None
    return Answer(
        text=(text or "").strip(),
        mean_logprob=_mean_logprob(choice),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        fault=Fault.REFUSED if text is None and cut is None else cut,
    )


def _mean_logprob(choice: _Choice) -> float | None:
    tokens = choice.logprobs.content if choice.logprobs else None
    known = [token.logprob for token in tokens or () if token.logprob is not None]
    mean = math.fsum(known) / len(known) if known else None
    return mean if mean is not None and math.isfinite(mean) else None
