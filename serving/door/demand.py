"""What a request asks of the server, read off its JSON before anything is done for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.errors import LimitExceeded
from serving.door.limits import Limits

_CHOICES: Final = ("n", "best_of")
_LOGPROBS: Final = ("logprobs", "top_logprobs", "prompt_logprobs")
_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "min_tokens")


@dataclass(frozen=True)
class Demand:
    """Its texts are `characters` long together (code points); `answers` are to be generated.

    most_tokens: of one answer, None where the request does not say. in_ids: whether a text is
    given as token ids, whose characters nobody has counted.
    """

    model: str = ""
    characters: int = 0
    answers: int = 1
    most_tokens: int | None = None
    in_ids: bool = False


def demand_of(body: Any, limits: Limits) -> Demand:
    """Return what `body` asks for. Raises LimitExceeded.

    What has the wrong type asks for nothing: vLLM's own check answers it.
    """
    if not isinstance(body, Mapping):
        return Demand()
    _within(body, _CHOICES, limits.choices, "limits.choices")
    _within(body, _LOGPROBS, limits.logprobs, "limits.logprobs")
    if limits.max_tokens is not None:
        _within(body, _LENGTHS, limits.max_tokens, "limits.max_tokens")
    prompts = _prompts(body)
    if len(prompts) > limits.segments:
        raise LimitExceeded(
            f"{len(prompts)} texts in one request, and at most {limits.segments} are taken "
            "(limits.segments); send them in several requests"
        )
    model = body.get("model")
    choices = max(1, *(_count(body, name) or 1 for name in _CHOICES))
    most_tokens = _count(body, "max_completion_tokens") or _count(body, "max_tokens")
    return Demand(
        model=model if isinstance(model, str) else "",
        characters=sum(map(len, _texts(body.get("messages")))) + sum(map(_length, prompts)),
        answers=max(1, len(prompts)) * choices,
        # Less than nothing would make room for others, while vLLM finds out what is wrong.
        most_tokens=None if most_tokens is None else max(0, most_tokens),
        in_ids=any(not isinstance(prompt, str) for prompt in prompts),
    )


def _within(body: Mapping[str, Any], names: tuple[str, ...], most: int, setting: str) -> None:
    for name in names:
        asked = _count(body, name)
        if asked is not None and asked > most:
            raise LimitExceeded(f"{name} is {asked}, and at most {most} is taken ({setting})")


def _count(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    return value if type(value) is int else None


def _prompts(body: Mapping[str, Any]) -> list[Any]:
    """Return a completion's prompts: strings, or lists of token ids."""
    prompt = body.get("prompt")
    if not isinstance(prompt, list):
        return [prompt] if isinstance(prompt, str) else []
    return [prompt] if prompt and type(prompt[0]) is int else prompt


def _length(prompt: Any) -> int:
    return len(prompt) if isinstance(prompt, str) else 0


def _texts(messages: Any) -> Iterator[str]:
    """Yield every text of a chat, whoever says it."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            text = part.get("text") if isinstance(part, Mapping) else part
            if isinstance(text, str):
                yield text
