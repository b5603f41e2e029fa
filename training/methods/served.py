"""How what a method makes is served: said before training, so that no hour is spent for nothing."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from adapters.served_bases import can_serve_lora
from training.methods.config import (
    RESIDUAL_INITS,
    AdaLoraMethod,
    BottleneckMethod,
    FullMethod,
    Ia3Method,
    LohaMethod,
    LokrMethod,
    LoraMethod,
    Method,
    PrefixMethod,
    PromptMethod,
)


class Way(enum.StrEnum):
    """How a trained thing reaches a server."""

    DIRECTLY = "directly"
    EXACTLY = "converted exactly"
    LOSSY = "converted with a measured error"
    MERGED = "merged into a model of its own"
    NOT = "not at all"


@dataclass(frozen=True)
class Served:
    """The way, and why it is this one."""

    way: Way
    why: str

    @property
    def as_adapter(self) -> bool:
        """Whether it is served beside others on the shared base."""
        return self.way in (Way.DIRECTLY, Way.EXACTLY, Way.LOSSY)


_LORA: Final = Served(Way.DIRECTLY, "a plain LoRA")
_BY_KIND: Final[dict[type, Served]] = {
    AdaLoraMethod: Served(Way.EXACTLY, "its singular values are folded into one factor"),
    LohaMethod: Served(Way.EXACTLY, "it is a LoRA of its rank squared"),
    LokrMethod: Served(Way.LOSSY, "a Kronecker product has a rank that no LoRA may have"),
    Ia3Method: Served(Way.LOSSY, "its factors change all of a module, the nearest LoRA does not"),
    PrefixMethod: Served(Way.NOT, "vLLM has no keys and values of virtual tokens"),
    PromptMethod: Served(Way.NOT, "vLLM has no virtual tokens"),
    BottleneckMethod: Served(Way.NOT, "vLLM has no layers of an adapter's own"),
    FullMethod: Served(Way.MERGED, "every weight of the base is another"),
}


def how_served(method: Method, model_type: str) -> Served:
    """Return how the result of `method` on a base of `model_type` (its config.json) is served."""
    served = _lora(method) if isinstance(method, LoraMethod) else _BY_KIND[type(method)]
    if served.as_adapter and not can_serve_lora(model_type):
        return Served(Way.MERGED, f"vLLM has no LoRA for bases of type {model_type}")
    return served


def name_of(method: Method) -> str:
    """Return what people call the method: a `lora` with another init or a magnitude has a name."""
    if isinstance(method, LoraMethod) and (method.dora or method.init in RESIDUAL_INITS):
        return "dora" if method.dora else method.init
    return method.kind


def _lora(method: LoraMethod) -> Served:
    if method.dora:
        return Served(Way.LOSSY, "DoRA scales whole columns, the nearest LoRA does not")
    if method.init in RESIDUAL_INITS:
        return Served(Way.EXACTLY, f"minus where {method.init} began: a LoRA of twice the rank")
    return _LORA
