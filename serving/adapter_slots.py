"""The engine's slots: what an adapter's weights are written into before a step reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from serving.vllm_compat import BaseLinearLayerWithLoRA, LRUCacheLoRAModelManager


class SlotManager(LRUCacheLoRAModelManager):
    """vLLM's manager, but to change a slot's adapter it clears what was written there, and no more.

    A slot has room for the highest rank that the server allows. vLLM clears all of it, inside of
    a step: for rank 16 in slots of 64 that takes longer than to write the new adapter.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what the base class takes."""
        # The highest rank in each slot; one that is not known is cleared as a whole.
        self._ranks: dict[int, int] = {}
        self._slices: dict[str, int] = {}
        # Of the adapter that is being written, the rank that it has in every slice.
        self._overwritten = 0
        super().__init__(*arguments, **options)
        # They come from torch.zeros.
        self._ranks.update(dict.fromkeys(range(self.lora_slots), 0))
        for wrapper in self.punica_wrapper_mapping.values():
            vars(wrapper)["slot_ranks"] = self._ranks

    def register_module(self, module_name: str, module: Any) -> None:
        """Take a layer in, and over its way of clearing a slot."""
        super().register_module(module_name, module)
        if isinstance(module, BaseLinearLayerWithLoRA):
            self._slices[module_name] = module.n_slices
            setattr(module, "reset_lora", partial(self._clear, module))  # noqa: B010 - a method

    def activate_adapter(self, lora_id: int) -> bool:
        """Write an adapter into a free slot, unless it is in one."""
        ranks = [*self._ranks_of(self._registered_adapters[lora_id])]
        self._overwritten = min(ranks, default=0)
        try:
            activated = super().activate_adapter(lora_id)
        except BaseException:
            self._ranks.clear()  # a slot may hold parts of two adapters
            raise
        finally:
            self._overwritten = 0
        if activated:
            self._ranks[self.lora_index_to_id.index(lora_id)] = max(ranks, default=0)
        return activated

    def _ranks_of(self, lora: Any) -> Iterator[int]:
        """Yield an adapter's rank in each slice of each linear layer, 0 where it has no weights."""
        for name, slices in self._slices.items():
            weights: Any = self._get_lora_layer_weights(lora, name)
            found = None if weights is None else weights.lora_a
            of_slices = found if isinstance(found, list) else [found]
            yield from (0 if a is None else a.shape[0] for a in of_slices)
            if len(of_slices) != slices:
                yield 0  # some slices share theirs: vLLM says which, we need not know

    def _clear(self, module: Any, slot: int) -> None:
        rank = self._ranks.get(slot)
        if rank is not None and rank <= self._overwritten:
            return
        for a, b in zip(module.lora_a_stacked, module.lora_b_stacked, strict=True):
            a[slot, :, :rank] = 0
            b[slot, :, :, :rank] = 0
