"""/v1/models: everything that can be asked for, not only what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from adapters.errors import AdapterNotFound
from serving import contract
from serving.catalogue import Catalogue, Entry
from serving.door import admitted
from serving.resolver import not_found
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
        """Return all that exists for the caller: the base, and every id of the registry."""
        listed = await super().show_available_models()
        entries = await self.catalogue.entries()
        caller = admitted.caller()
        if caller.is_restricted:
            listed.data = [card for card in listed.data if caller.may_use(card.id)]
            entries = [entry for entry in entries if caller.may_use(entry.name)]
        # A thousand cards take 30 ms, in which no stream would get its tokens.
        listed.data += await asyncio.to_thread(self._cards, entries)
        return listed

    async def show_model(self, name: str) -> Any | None:
        """Return the card of one model, or None where it does not exist for the caller."""
        if not admitted.caller().may_use(name):
            return None
        listed = await super().show_available_models()
        for card in listed.data:
            if card.id == name:
                return card
        entry = await self.catalogue.entry(name)
        return None if entry is None else self._card(entry, self.residency())

    async def not_there(self, name: str) -> AdapterNotFound:
        """Return what is said of a model that does not exist for the caller.

        The same, after the same work, whether it exists for others or not.
        """
        caller = admitted.caller()
        bases = [path.name for path in self.base_model_paths]
        names = [*bases, *(entry.name for entry in await self.catalogue.entries())]
        known = [each for each in names if caller.may_use(each)]
        return not_found(name, known)

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
