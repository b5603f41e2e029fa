"""/v1/models: everything that can be asked for, not only what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from serving import contract
from serving.catalogue import Catalogue, Entry
from serving.vllm_compat import LoRARequest, ModelCard, OpenAIServingModels

# Where each version is now: engine or cpu, if it is in memory; by the engine's name of it.
Residency = Callable[[], Mapping[str, str]]


class ContractModels(OpenAIServingModels):
    """vLLM's list of models, with the registry's adapters in it."""

    catalogue: Catalogue
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
        entries = await self.catalogue.entries()
        # A thousand cards take 30 ms, in which no stream would get its tokens.
        listed.data += await asyncio.to_thread(self._cards, entries)
        return listed

    async def show_model(self, name: str) -> Any | None:
        """Return the card of one model, or None."""
        listed = await super().show_available_models()
        for card in listed.data:
            if card.id == name:
                return card
        entry = await self.catalogue.entry(name)
        return None if entry is None else self._card(entry, self.residency())

    def _cards(self, entries: list[Entry]) -> list[Any]:
        tiers = self.residency()
        return [self._card(entry, tiers) for entry in entries]

    def _card(self, entry: Entry, tiers: Mapping[str, str]) -> Any:
        manifest = entry.shown.manifest
        ours: dict[str, Any] = {"dragoman": entry.facts(tiers)}
        return ModelCard(
            id=str(manifest.id),
            created=int(manifest.created.timestamp()),
            owned_by="dragoman",
            root=manifest.base.name,
            parent=self.base_model_paths[0].name,
            max_model_len=self.model_config.max_model_len,
            **ours,
        )
