"""/v1/models: everything that can be asked for, not only what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from adapters.errors import DragomanError
from adapters.ids import STABLE, AdapterId
from adapters.registry import Published, Registry
from serving import contract
from serving.vllm_compat import LoRARequest, ModelCard, OpenAIServingModels

# Where each version is now: engine, cpu or disk; by the engine's name of it.
Residency = Callable[[], dict[str, str]]


class ContractModels(OpenAIServingModels):
    """vLLM's list of models, with the registry's adapters in it."""

    adapters: Registry
    residency: Residency

    def model_name(self, lora_request: LoRARequest | None = None) -> str:
        """Return the name that answers carry: the one that the client asked for."""
        binding = contract.current.get()
        if binding is not None and lora_request is not None:
            return binding.asked
        return str(super().model_name(lora_request))

    async def show_available_models(self) -> Any:
        """Return the base, adapters that vLLM was started with, and every id of the registry."""
        listed = await super().show_available_models()
        listed.data += await asyncio.to_thread(self._cards)
        return listed

    async def show_model(self, name: str) -> Any | None:
        """Return the card of one model, or None."""
        listed = await self.show_available_models()
        return next((card for card in listed.data if card.id == name), None)

    def _cards(self) -> list[Any]:
        cards = []
        for adapter_id in self.adapters.ids():
            try:
                cards.append(self._card(adapter_id))
            except DragomanError:
                # One unreadable adapter must not hide the others; asking for it says what is wrong.
                continue
        return cards

    def _card(self, adapter_id: AdapterId) -> Any:
        versions = self.adapters.versions(adapter_id)
        aliases = self.adapters.aliases(adapter_id)
        shown = next(
            (v for v in versions if v.manifest.version == aliases.get(STABLE)), versions[-1]
        )
        card = {
            "id": str(adapter_id),
            "created": int(shown.manifest.created.timestamp()),
            "owned_by": "dragoman",
            "root": shown.manifest.base.name,
            "parent": self.base_model_paths[0].name,
            "max_model_len": self.model_config.max_model_len,
            "dragoman": self._facts(shown, aliases),
        }
        return ModelCard.model_validate(card)

    def _facts(self, shown: Published, aliases: dict[str, int]) -> dict[str, Any]:
        manifest = shown.manifest
        return {
            "pairs": [str(pair) for pair in manifest.pairs],
            "domain": manifest.domain,
            "version": manifest.version,
            "aliases": aliases,
            "digest": manifest.digest,
            "residency": self.residency().get(shown.name, "disk"),
            "scores": [score.model_dump(mode="json") for score in manifest.scores],
        }
