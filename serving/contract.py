"""What an adapter's contract does to a request: prompt ids, stop ids, decoding defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from adapters.errors import RequestInvalid
from adapters.ids import LanguagePair
from adapters.manifest import AdapterManifest
from adapters.tokenizer import Tokenizer
from serving.resolver import Resolved


@dataclass(frozen=True)
class Binding:
    """The version that answers a request, and what the client wrote: model name and options."""

    resolved: Resolved
    asked: str
    said: frozenset[str]


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# Set by the handlers for the span of one request.
current: Final[ContextVar[Binding | None]] = ContextVar("dragoman_binding", default=None)


def bound() -> Binding:
    """Return the binding of the request at hand. Raises LookupError outside of one."""
    binding = current.get()
    if binding is None:
        raise LookupError("no request is bound to a version")
    return binding


def pair_of(manifest: AdapterManifest, metadata: object) -> LanguagePair:
    """Return the language pair of a request. Raises RequestInvalid with the choices.

    An adapter of one pair needs no word; one of several needs `metadata.source` and `.target`.
    """
    wanted = metadata if isinstance(metadata, Mapping) else {}
    source, target = wanted.get("source"), wanted.get("target")
    fitting = [
        pair
        for pair in manifest.pairs
        if source in (None, pair.source) and target in (None, pair.target)
    ]
    if len(fitting) == 1:
        return fitting[0]
    asked = f"source={source!r}, target={target!r}"
    raise RequestInvalid(
        f"{manifest.id} translates {', '.join(map(str, manifest.pairs))}; the request says "
        f"{asked}: set metadata.source and metadata.target to one of these pairs"
    )


def lone_segment(messages: Sequence[Any]) -> str | None:
    """Return the text of a chat that is one user message, or None if the caller wrote more."""
    if len(messages) != 1:
        return None
    message = messages[0]
    # One with an `author` is an object of vLLM's, in the format of another model.
    if not isinstance(message, Mapping) or message.get("role") != "user":
        return None
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = list(content or ())
    texts = [p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") == "text"]
    if not texts or len(texts) != len(parts) or not all(isinstance(t, str) for t in texts):
        raise RequestInvalid("a translation adapter takes text: send content as a string")
    return "".join(str(text) for text in texts)


def segments(prompt: object) -> list[str] | None:
    """Return the texts of a completion's prompt, or None if it is made of token ids."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt and all(isinstance(text, str) for text in prompt):
        return list(prompt)
    return None


def prompt_ids(
    manifest: AdapterManifest, texts: Sequence[str], metadata: object, tokenizer: Tokenizer
) -> list[list[int]]:
    """Return the prompt of each segment, as training made it. Raises RequestInvalid."""
    pair = pair_of(manifest, metadata)
    if not all(text.strip() for text in texts):
        raise RequestInvalid("the text to translate is empty; send at least one character")
    return [manifest.prompt.encode(text, pair, tokenizer) for text in texts]


def refuse_truncation(request: Any) -> None:
    """Raise RequestInvalid if the request wants its prompt cut: a cut prompt is not training's."""
    if request.truncate_prompt_tokens is not None:
        raise RequestInvalid(
            "an adapter's prompt is never cut; leave out truncate_prompt_tokens, or send the text "
            "in shorter segments"
        )


def said_by_client(request: Any, body: object = None) -> frozenset[str]:
    """Return the options that the client set; null leaves an option open, as in OpenAI's API.

    body is the request as it came in. vLLM's model of it cannot tell: it writes the default of
    max_tokens, 16, into a completion that says nothing.
    """
    if isinstance(body, Mapping):
        return frozenset(name for name, value in body.items() if value is not None)
    values = vars(request)
    return frozenset(name for name in request.model_fields_set if values.get(name) is not None)


def refuse_half_characters(raw: bytes, body: object) -> None:
    """Raise RequestInvalid for a lone surrogate in any text of a body.

    JSON can escape one, and nothing can write it on: vLLM answers 500 for one in `stop`.
    """
    if _SURROGATE.search(raw) is None:
        return
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RequestInvalid(
            f"the body has a lone surrogate ({error.object[error.start]!a}), found in "
            f"{error.object[max(0, error.start - 20) : error.end]!a}; send text that can be "
            "written as UTF-8"
        ) from error


def apply_decoding(request: Any, manifest: AdapterManifest, *, said: Set[str]) -> None:
    """Set the sampling and stop tokens that the client left open, in place."""
    for name in ("temperature", "top_p", "repetition_penalty"):
        if name not in said:
            setattr(request, name, getattr(manifest.decoding, name))
    # A caller who names stop tokens, or wants to run past the end, means it.
    if "stop_token_ids" not in said and not request.ignore_eos:
        request.stop_token_ids = list(manifest.prompt.stop_token_ids)


def apply_length(
    request: Any, manifest: AdapterManifest, *, source_tokens: int, room: int, said: Set[str]
) -> None:
    """Set the answer's length, if the client left it open, in place.

    source_tokens is the longest segment's length: a request has one length for all of it.
    room is what the context has left for an answer; none is vLLM's error to report, since it
    names the prompt's length and the limit.
    """
    if said & {"max_tokens", "max_completion_tokens"}:
        return
    newer = "max_completion_tokens"
    name = newer if newer in type(request).model_fields else "max_tokens"
    setattr(request, name, max(1, min(manifest.decoding.max_tokens(source_tokens), room)))
