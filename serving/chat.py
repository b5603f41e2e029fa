"""vLLM's chat and completion handlers, obeying the contract of the adapter that a request names.

Both keep all that vLLM does (streaming, usage, logprobs, n, tools) and change three things: the
model name is resolved by the registry, a bare segment becomes the adapter's own prompt as token
ids, and what the request leaves open comes from the contract.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from adapters.errors import AdapterNotFound, DragomanError
from adapters.manifest import AdapterManifest
from adapters.tokenizer import Tokenizer
from serving import contract
from serving.door import admitted
from serving.door.record import ERROR
from serving.http_errors import error_body
from serving.observe import BASE_LABELS, labels_of
from serving.resolver import Resolved, Resolver
from serving.vllm_compat import (
    OpenAIServingChat,
    OpenAIServingCompletion,
    lora_request,
    prompt_ids_to_engine_inputs,
)

Create = Callable[[Any, Any], Awaitable[Any]]
_LARGE_CHARS: Final = 4096


class Contracts:
    """Binds each request to the version that its `model` names."""

    def __init__(self, resolver: Resolver, models: Any, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._resolver = resolver
        self._models = models

    async def answer(self, request: Any, raw_request: Any, create: Create) -> Any:
        """Return what vLLM's `create` answers while `request` is bound to its version.

        The base model, and adapters that vLLM was started with, have no contract of ours.
        """
        body = None
        if raw_request is not None:
            body = await raw_request.json()
            contract.refuse_half_characters(await raw_request.body(), body)
        name = request.model
        # Without a name it is the base that answers.
        asked = name or self._models.base_model_paths[0].name
        if not admitted.caller().may_use(asked):
            raise await self._models.not_there(asked)
        if not name or self._models.is_base_model(name) or name in self._models.lora_requests:
            _note_labels(raw_request, (name, "") if name in self._models.lora_requests else None)
            return await create(request, raw_request)
        resolved = await self._resolve(name)
        if raw_request is not None:
            # The gate releases it, once the last token was sent or the client has gone.
            raw_request.state.dragoman = resolved
        manifest = resolved.manifest
        _note_labels(raw_request, labels_of(manifest.id, manifest.version))
        said = contract.said_by_client(request, body)
        token = contract.current.set(contract.Binding(resolved, asked=name, said=said))
        try:
            return await create(request, raw_request)
        finally:
            contract.current.reset(token)
            if raw_request is None:
                resolved.release()

    async def _resolve(self, name: str) -> Resolved:
        try:
            return await self._resolver.resolve(name)
        except AdapterNotFound:
            if admitted.caller().is_restricted:  # the nearest ids may not exist for it
                raise await self._models.not_there(name) from None
            raise

    async def engine_inputs(self, handler: Any, request: Any, texts: list[str]) -> list[Any]:
        """Return one engine input for each segment, and settle what `request` leaves open."""
        binding = contract.bound()
        manifest = binding.resolved.manifest
        handler._preflight(request.n or 1)
        contract.refuse_truncation(request)
        metadata = (request.model_extra or {}).get("metadata")
        encode = partial(self._encode, manifest, texts, metadata)
        # A long document takes milliseconds, in which no other stream would get its tokens.
        large = sum(map(len, texts)) > _LARGE_CHARS
        prompts, longest = await asyncio.to_thread(encode) if large else encode()
        room = handler.model_config.max_model_len - max(map(len, prompts))
        contract.apply_decoding(request, manifest, said=binding.said)
        contract.apply_length(
            request, manifest, source_tokens=longest, room=room, said=binding.said
        )
        return await prompt_ids_to_engine_inputs(handler, request, prompts)

    async def reserve(self, handler: Any, request: Any, inputs: Sequence[Any]) -> None:
        """Charge the most tokens that the request can take, if its key has a quota of them.

        Raises QuotaExceeded before anything is generated, or the answer has begun.
        """
        at_hand = admitted.current.get()
        if at_hand is None or at_hand.hold is None:
            return
        most = getattr(request, "max_completion_tokens", None) or request.max_tokens
        room = handler.model_config.max_model_len
        total = 0
        for each in inputs:
            prompt = len(each["prompt_token_ids"])
            answer = room - prompt if most is None else min(most, room - prompt)
            total += prompt + max(0, answer) * (request.n or 1)
        await at_hand.hold.take_tokens(total)

    def _encode(
        self, manifest: AdapterManifest, texts: list[str], metadata: object
    ) -> tuple[list[list[int]], int]:
        """Return the prompts, and the longest segment's length, in tokens."""
        prompts = contract.prompt_ids(manifest, texts, metadata, self.tokenizer)
        return prompts, max(len(self.tokenizer.encode_text(text)) for text in texts)


def _note_labels(raw_request: Any, labels: tuple[str, str] | None) -> None:
    """Say at the edge what the request is counted under."""
    if raw_request is not None:
        raw_request.state.dragoman_labels = labels or BASE_LABELS


class _Bound:
    """How vLLM's handlers learn which weights answer: from the binding, never from a name.

    Our versions are not in vLLM's table of LoRARequests. There a client could name one directly
    and pass by its contract, and the table would grow with every version ever used.
    """

    async def _check_model(self, request: Any) -> Any:
        if contract.current.get() is not None:
            return None
        return await super()._check_model(request)  # type: ignore[misc]

    def _maybe_get_adapters(self, request: Any, supports_default_mm_loras: bool = False) -> Any:
        binding = contract.current.get()
        if binding is None:
            return super()._maybe_get_adapters(request, supports_default_mm_loras)  # type: ignore[misc]
        resolved = binding.resolved
        return lora_request(
            resolved.name, lora_int_id=resolved.lora_int_id, folder=resolved.published.folder
        )

    def create_streaming_error_response(self, message: Any, *rest: Any, **options: Any) -> str:
        """Return the event of an error in mid-stream; ours keep their stable code."""
        if isinstance(message, DragomanError):
            if (at_hand := admitted.current.get()) is not None:
                at_hand.state[ERROR] = message.code
            return json.dumps(error_body(message))
        return str(super().create_streaming_error_response(message, *rest, **options))  # type: ignore[misc]

    def beam_search(self, *given: Any, lora_request: Any = None, **options: Any) -> Any:
        """Yield beam search's one output; the engine requests behind it are not counted."""
        inner: Any = copy.copy(self)
        engine = inner.engine_client
        inner.engine_client = engine.unobserved
        search = super(_Bound, inner).beam_search  # type: ignore[misc]
        return engine.observe(search(*given, lora_request=lora_request, **options), lora_request)


class ContractChat(_Bound, OpenAIServingChat):
    """/v1/chat/completions."""

    contracts: Contracts

    async def create_chat_completion(self, request: Any, raw_request: Any = None) -> Any:
        """Return vLLM's answer: a response, an error object, or a stream of SSE lines."""
        return await self.contracts.answer(request, raw_request, super().create_chat_completion)

    async def render_chat_request(self, request: Any) -> Any:
        """Return (conversation, engine inputs), or an error object.

        A lone user message is a segment; a chat that the caller wrote in full, with a system
        message, several turns or tools, goes through the base's own template.
        """
        rendered = await self._rendered(request)
        if isinstance(rendered, (tuple, list)):
            await self.contracts.reserve(self, request, rendered[1])
        return rendered

    async def _rendered(self, request: Any) -> Any:
        binding = contract.current.get()
        if binding is None:
            return await super().render_chat_request(request)
        text = None if request.tools else contract.lone_segment(request.messages)
        if text is None:
            contract.apply_decoding(request, binding.resolved.manifest, said=binding.said)
            return await super().render_chat_request(request)
        inputs = await self.contracts.engine_inputs(self, request, [text])
        return [{"role": "user", "content": text}], inputs


class ContractCompletion(_Bound, OpenAIServingCompletion):
    """/v1/completions: a string, or each string of a list, is a segment to translate."""

    contracts: Contracts

    async def create_completion(self, request: Any, raw_request: Any = None) -> Any:
        """Return vLLM's answer: a response, an error object, or a stream of SSE lines."""
        return await self.contracts.answer(request, raw_request, super().create_completion)

    async def render_completion_request(self, request: Any) -> Any:
        """Return engine inputs, or an error object; a prompt of token ids is taken as it is."""
        rendered = await self._rendered(request)
        if isinstance(rendered, (tuple, list)):
            await self.contracts.reserve(self, request, rendered)
        return rendered

    async def _rendered(self, request: Any) -> Any:
        binding = contract.current.get()
        if binding is None:
            return await super().render_completion_request(request)
        texts = contract.segments(request.prompt)
        if texts is None:
            contract.apply_decoding(request, binding.resolved.manifest, said=binding.said)
            return await super().render_completion_request(request)
        return await self.contracts.engine_inputs(self, request, texts)
